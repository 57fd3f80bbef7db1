"""Which definitions an evaluation follows: chosen once, and written beside every number."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast, get_args

from medseg.errors import EvaluationError
from medseg.metrics.surface import SurfaceKind


@dataclass(frozen=True)
class ScoreSettings:
    """How masks are scored.

    Attributes:
        tolerance_mm: Surface distance that still counts as right, for the surface Dice.
        tolerances_mm: The same for single structures, by name.
        surface: What a surface is made of: "elements" (triangles weighted by area, as
            google-deepmind/surface-distance) or "borders" (voxels, as MONAI, MedPy, SimpleITK).
        tubes: Names of structures that are tubes, such as vessels: they get a clDice.
        lesions: Names of structures of which each connected part is judged by itself.
        instances: Whether masks number objects: then every value above 0 is the one label, and
            the objects are matched (panoptic quality).
        resample: Whether a prediction on another grid is brought onto that of its reference, by a
            vote; otherwise it is refused.

    Raises:
        EvaluationError: If a tolerance is no distance, or there is no such surface.
    """

    tolerance_mm: float = 1.0
    tolerances_mm: Mapping[str, float] = field(default_factory=dict)
    surface: SurfaceKind = "elements"
    tubes: tuple[str, ...] = ()
    lesions: tuple[str, ...] = ()
    instances: bool = False
    resample: bool = False

    def __post_init__(self) -> None:
        for tolerance in (self.tolerance_mm, *self.tolerances_mm.values()):
            if not (math.isfinite(tolerance) and tolerance >= 0):
                raise EvaluationError(
                    "A tolerance is a distance in millimetres, 0 or more.", received=str(tolerance)
                )
        surface_kind(self.surface)

    def tolerance_of(self, name: str) -> float:
        """The tolerance of a structure, in mm."""
        return self.tolerances_mm.get(name, self.tolerance_mm)

    @property
    def named(self) -> tuple[str, ...]:
        """All structures that are named by a setting."""
        return tuple(dict.fromkeys((*self.tubes, *self.lesions, *self.tolerances_mm)))


def surface_kind(word: str) -> SurfaceKind:
    """The kind of surface of this name.

    Raises:
        EvaluationError: If there is none.
    """
    for kind in get_args(SurfaceKind):
        if word == kind:
            return cast(SurfaceKind, kind)
    raise EvaluationError(
        f"A surface is made of {' or '.join(get_args(SurfaceKind))}.", received=repr(word)
    )
