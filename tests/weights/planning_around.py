"""A small plan with uneven axes, for networks to be put into."""

from medseg.dataset.description import Channel
from medseg.dataset.normalise import ZScore
from medseg.dataset.plan import Plan
from medseg.specs import (
    AugmentSpec,
    Budget,
    LossSpec,
    MirrorSpec,
    PlainUNetSpec,
    RecipeSpec,
    WindowSpec,
)
from medseg.volume.labels import Label


def some_plan(*, dims: int, names: tuple[str, ...] = ("liver", "tumour")) -> Plan:
    """One channel; a patch of 28 x 40 (x 12) voxels of 1 x 2 x 5 mm, mirrored along I."""
    patch = (28, 40, 12 if dims == 3 else 1)
    network = PlainUNetSpec(
        dims=dims,
        in_channels=1,
        classes=len(names) + 1,
        features=(4, 8),
        kernels=((3,) * dims,) * 2,
        strides=((1,) * dims, (2,) * dims),
        encoder_convs=(1, 1),
        decoder_convs=(1,),
    )
    return Plan(
        dataset="abdomen",
        config="3d_full" if dims == 3 else "2d",
        channels=(Channel(name="T1", modality="MR"),),
        labels=tuple(Label(value=n, name=name) for n, name in enumerate(names, start=1)),
        normalisations=(ZScore(),),
        orientation="RAS",
        spacing_mm=(1.0, 2.0, 5.0),
        crop_to_nonzero=False,
        patch_size=patch,
        network=network,
        loss=LossSpec(),
        augment=AugmentSpec(mirror=MirrorSpec(axes=(0,))),
        recipe=RecipeSpec(),
        window=WindowSpec(patch_size=patch),
        budget=Budget(memory_bytes=1 << 30, gflops=100),
        median_grid=patch,
    )
