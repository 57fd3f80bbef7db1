"""Frozen settings that cross chapters. No torch; every kind is told apart by its `kind`."""

from medseg.specs.base import FROZEN
from medseg.specs.lite import LiteSpec
from medseg.specs.mednext import MedNeXtSpec
from medseg.specs.networks import PAPERS, NetworkSpec, Paper
from medseg.specs.settings import NetworkSettings
from medseg.specs.training import (
    AugmentSpec,
    Budget,
    LossSpec,
    MaskAugmentSpec,
    MirrorSpec,
    RecipeSpec,
    WindowSpec,
)
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

__all__ = [
    "FROZEN",
    "PAPERS",
    "AttentionUNetSpec",
    "AugmentSpec",
    "Budget",
    "LiteSpec",
    "LossSpec",
    "MaskAugmentSpec",
    "MedNeXtSpec",
    "MedTSpec",
    "MirrorSpec",
    "NetworkSettings",
    "NetworkSpec",
    "Paper",
    "PlainUNetSpec",
    "RecipeSpec",
    "ResEncUNetSpec",
    "SwinUNETRSpec",
    "TransUNetSpec",
    "UNETRSpec",
    "UNet3DSpec",
    "UNetSpec",
    "WindowSpec",
]
