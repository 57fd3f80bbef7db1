"""Regions: unions of label values that may overlap, and the order in which a mask is painted.

A tumour of oedema (1), necrosis (2) and enhancing tissue (3) is often judged as "whole tumour"
{1, 2, 3}, "core" {2, 3} and "enhancing" {3}. A network may find these regions themselves; a label
map is then painted region over region, each in a value of its own.

Source:
    Isensee et al., nnU-Net for Brain Tumor Segmentation, BrainLes 2020; nnU-Net v2,
    `regions_class_order` of a dataset.json.
"""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from medseg.errors import LabelError
from medseg.volume.labels import LARGEST_LABEL, Label, Labels

IGNORED_NAME = "ignore"
"""What the value is called whose voxels nobody has judged."""


class PaintedRegion(BaseModel):
    """A union of label values that is found as a whole.

    Attributes:
        name: What people call it.
        values: The label values that it is made of.
        painted: The value that its voxels have in a label map, unless a later region covers them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    values: tuple[int, ...] = Field(min_length=1)
    painted: int = Field(ge=1, le=LARGEST_LABEL)


Regions = tuple[PaintedRegion, ...]
"""All regions in the order they are painted; the n-th is channel n of a network."""


def require_regions(regions: Regions, labels: Labels) -> None:
    """Pass if a label map that is turned into regions and painted again keeps its regions.

    Raises:
        LabelError: If a region is made of other values than those of `labels`, a name occurs twice,
            or the order of painting hides a region behind one that is painted later.
    """
    known = {label.value for label in labels}
    for region in regions:
        unknown = sorted({*region.values, region.painted} - known)
        if unknown or len(set(region.values)) < len(region.values):
            raise LabelError(
                "A region is made of different values of the labels, and painted as one of them.",
                received=f"{region.name!r}: {list(region.values)}, painted as {region.painted}; "
                f"labels have {', '.join(map(str, sorted(known)))}",
                cure="Repair the region, or name the missing label.",
            )
    names = [region.name for region in regions]
    if len(set(names)) < len(names):
        raise LabelError("Regions have names of their own.", received=", ".join(names))
    for value in sorted(known) if regions else ():
        inside = _around(value, regions)
        painted = inside[-1].painted if inside else 0
        if _around(painted, regions) != inside:
            raise LabelError(
                "Regions are painted in order, the inner ones over the outer ones.",
                received=f"value {value}, a part of {_names(inside)}, painted as {painted}, which "
                f"is a part of {_names(_around(painted, regions))}",
                cure="Give regions_class_order the values from the largest region to the smallest.",
            )


def classes_of(regions: Regions, labels: Labels) -> tuple[tuple[int, ...], ...]:
    """Class indices of each region, where the n-th of `labels` is class n + 1."""
    number = {label.value: n + 1 for n, label in enumerate(labels)}
    return tuple(tuple(number[value] for value in region.values) for region in regions)


def painted_classes(regions: Regions, labels: Labels) -> tuple[int, ...]:
    """The class index that each region is painted as."""
    number = {label.value: n + 1 for n, label in enumerate(labels)}
    return tuple(number[region.painted] for region in regions)


def judged(labels: Labels, regions: Regions) -> dict[str, tuple[int, ...]]:
    """What a mask is judged by: the values of each region, or else of each label, by name."""
    if regions:
        return {region.name: region.values for region in regions}
    return {label.name: (label.value,) for label in labels}


def with_ignored(labels: Labels, ignored_value: int | None) -> Labels:
    """Labels of a file in which `ignored_value` marks voxels that nobody has judged.

    Raises:
        LabelError: If the value or its name belongs to a structure.
    """
    if ignored_value is None:
        return labels
    twice = [x for x in labels if x.value == ignored_value or x.name == IGNORED_NAME]
    if twice:
        raise LabelError(
            "The value of ignored voxels is that of no structure.",
            received=f"{ignored_value}, and {twice[0].value} is {twice[0].name}",
            cure="Give the ignored voxels a value of their own.",
        )
    ignored = Label(value=ignored_value, name=IGNORED_NAME)
    return tuple(sorted((*labels, ignored), key=lambda label: label.value))


def _around(value: int, regions: Regions) -> list[PaintedRegion]:
    """The regions that a value belongs to."""
    return [region for region in regions if value in region.values]


def _names(regions: Sequence[PaintedRegion]) -> str:
    return " and ".join(region.name for region in regions) or "no region"
