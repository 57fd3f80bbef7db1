"""All networks there are: their settings, told apart by `kind`, and the papers' own."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, NamedTuple

from pydantic import Field

from medseg.specs.lite import LiteSpec
from medseg.specs.mednext import MedNeXtSpec
from medseg.specs.transformers import (
    MedTSpec,
    SwinUNETRSpec,
    TransUNetSpec,
    UNETRSpec,
)
from medseg.specs.unets import (
    AttentionUNetSpec,
    PlainUNetSpec,
    ResEncUNetSpec,
    UNet3DSpec,
    UNetSpec,
)

NetworkSpec = Annotated[
    PlainUNetSpec
    | UNetSpec
    | UNet3DSpec
    | AttentionUNetSpec
    | ResEncUNetSpec
    | TransUNetSpec
    | UNETRSpec
    | SwinUNETRSpec
    | MedTSpec
    | MedNeXtSpec
    | LiteSpec,
    Field(discriminator="kind"),
]
"""Any network that `medseg.networks.build` knows."""


class Paper(NamedTuple):
    """Where a network comes from.

    Attributes:
        spec: The setting whose number of parameters is known.
        grid: Voxels of the images that its multiplications are counted for.
        source: Authors, place and year.
    """

    spec: Callable[[], NetworkSpec]
    grid: tuple[int, ...]
    source: str


PAPERS: dict[str, Paper] = {
    "plain_unet": Paper(PlainUNetSpec.paper, (128, 128, 128), "Isensee, Nature Methods 2021"),
    "unet": Paper(UNetSpec.paper, (572, 572), "Ronneberger, MICCAI 2015"),
    "unet3d": Paper(UNet3DSpec.paper, (132, 132, 116), "Çiçek, MICCAI 2016"),
    "attention_unet": Paper(AttentionUNetSpec.paper, (160, 160, 96), "Oktay, MIDL 2018"),
    "resenc_unet": Paper(ResEncUNetSpec.paper, (128, 128, 128), "Isensee, MICCAI 2024"),
    "transunet": Paper(TransUNetSpec.paper, (224, 224), "Chen, arXiv 2021"),
    "unetr": Paper(UNETRSpec.paper, (96, 96, 96), "Hatamizadeh, WACV 2022"),
    "swin_unetr": Paper(SwinUNETRSpec.paper, (96, 96, 96), "Hatamizadeh, BrainLes 2021"),
    "medt": Paper(partial(MedTSpec.paper, "medt"), (128, 128), "Valanarasu, MICCAI 2021"),
    "medt_gated": Paper(
        partial(MedTSpec.paper, "medt_gated"), (128, 128), "Valanarasu, MICCAI 2021"
    ),
    "medt_axial": Paper(
        partial(MedTSpec.paper, "medt_axial"), (128, 128), "Valanarasu, MICCAI 2021"
    ),
    "medt_logo": Paper(partial(MedTSpec.paper, "medt_logo"), (128, 128), "Valanarasu, MICCAI 2021"),
    "mednext": Paper(MedNeXtSpec.paper, (128, 128, 128), "Roy, MICCAI 2023"),
    "lite": Paper(LiteSpec.paper, (128, 128, 128), "medseg's own"),
}
"""Each kind of network by the name that `--arch` takes."""
