"""Frozen settings that cross chapters. No torch; every kind is told apart by its `kind`."""

from medseg.specs.base import FROZEN
from medseg.specs.networks import NetworkSpec, PlainUNetSpec
from medseg.specs.training import (
    AugmentSpec,
    Budget,
    LossSpec,
    MirrorSpec,
    RecipeSpec,
    WindowSpec,
)

__all__ = [
    "FROZEN",
    "AugmentSpec",
    "Budget",
    "LossSpec",
    "MirrorSpec",
    "NetworkSpec",
    "PlainUNetSpec",
    "RecipeSpec",
    "WindowSpec",
]
