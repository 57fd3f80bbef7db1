"""Which network a student is: its kind and its width in words, in the shape of its teacher."""

import re
from typing import NamedTuple

from pydantic import ValidationError

from medseg.dataset.plan import Plan
from medseg.dataset.scaling import scaled_by
from medseg.dataset.topology import FULL_WIDTH, Topology, topology
from medseg.errors import PlanError
from medseg.specs import NetworkSpec
from medseg.specs.settings import fitting_grid
from medseg.specs.unets import StagedSettings

_WORDS = re.compile(r"([a-z0-9_]+)(?:@(\d*\.?\d+))?")

_NARROWEST = 2
"""Features of a stage, at least."""


class Student(NamedTuple):
    """What is asked for.

    Attributes:
        arch: Kind of network.
        share: Its width, as a share of the teacher's where that is of its kind; else of what that
            kind is where the teacher is as wide as it is.
    """

    arch: str
    share: float = 1.0


def student_of(words: str) -> Student:
    """The student of words such as "lite" or "plain_unet@0.5" (half as wide).

    Raises:
        PlanError: If they are not of that form, or there is no such kind of network.
    """
    match = _WORDS.fullmatch(words.strip())
    share = float(match[2]) if match and match[2] else 1.0
    if match is None or not 0 < share <= 1:
        raise PlanError(
            "A student is a kind of network, and after @ its width as a share up to 1.",
            received=repr(words),
            cure="Say --student lite or --student plain_unet@0.5.",
        )
    scaled_by(match[1])
    return Student(match[1], share)


def student_plan(teacher: Plan, student: Student) -> Plan:
    """The plan of a student: its teacher's with another network.

    Raises:
        PlanError: If such a network does not take the teacher's patch.
    """
    network = _network(teacher, student)
    axes = teacher.patch_size[: network.dims]
    takes = network.keeps_grid and network.fixed_grid in (None, axes)
    if not takes or fitting_grid(axes, network.divisor) != axes:
        raise PlanError(
            "A student takes the patch of its teacher.",
            received=f"{student.arch} for patches of {' x '.join(map(str, axes))} voxels",
            cure="Choose another student: lite and plain_unet take what a plain_unet takes.",
        )
    plan = teacher.model_dump()
    plan |= {"network": network.model_dump(), "reasons": []}
    return Plan.model_validate(plan)


def _network(teacher: Plan, student: Student) -> NetworkSpec:
    """The student's network: its teacher's own stages if it is of its kind."""
    own = teacher.network
    if own.kind == student.arch and isinstance(own, StagedSettings):
        return _narrower(own, student.share)  # type: ignore[return-value]
    axes = teacher.patch_size[: own.dims]
    shape = topology(teacher.spacing_mm[: own.dims], axes)
    if shape.patch_size != axes:
        shape = Topology(shape.kernels, shape.strides, axes)
    base = own.features[0] if own.kind in ("plain_unet", "resenc_unet") else FULL_WIDTH
    try:
        return scaled_by(student.arch)(
            shape,
            base=max(_NARROWEST, round(base * student.share)),
            in_channels=own.in_channels,
            classes=own.classes,
        )
    except ValidationError as error:
        raise PlanError(
            f"A student of kind {student.arch} can be built in the teacher's shape.",
            received=str(error.errors()[0]["msg"]),
            cure="Choose another student, or a larger share.",
        ) from error


def _narrower(network: StagedSettings, share: float) -> StagedSettings:
    widths = tuple(max(_NARROWEST, round(width * share)) for width in network.features)
    return type(network).model_validate(network.model_dump() | {"features": widths})
