"""What is scored: label values by name, and regions, which are unions of values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import LabelError
from medseg.types import IntArray
from medseg.volume.labels import LARGEST_LABEL, Label, Labels, make_labels

_LONGEST_NAME = 64


@dataclass(frozen=True)
class Region:
    """A structure that is the union of several label values.

    Attributes:
        name: What people call it.
        values: The label values that it is made of.

    Raises:
        LabelError: If the name is empty or long, or the values are no different label values.
    """

    name: str
    values: tuple[int, ...]

    def __post_init__(self) -> None:
        whole = all(1 <= value <= LARGEST_LABEL for value in self.values)
        if not self.values or not whole or len(set(self.values)) != len(self.values):
            raise LabelError(
                f"A region is made of different values from 1 to {LARGEST_LABEL}.",
                received=f"{self.name!r}: {list(self.values)}",
                cure='Write it as {"whole tumour": [1, 2, 4]}.',
            )
        if not 1 <= len(self.name) <= _LONGEST_NAME:
            raise LabelError(
                f"A region has a name of up to {_LONGEST_NAME} letters.", received=repr(self.name)
            )


@dataclass(frozen=True)
class Structures:
    """All that is scored in a mask.

    Attributes:
        labels: Structures of one value each, ordered by value.
        regions: Unions of values; these need not be labels of their own.
        ignored_value: What references hold where nobody has judged.

    Raises:
        LabelError: If a value of `labels` or any name occurs twice, or one is called "mean".
    """

    labels: Labels = ()
    regions: tuple[Region, ...] = ()
    ignored_value: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", make_labels(self.labels))
        names = self.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise LabelError(
                "Labels and regions have names of their own.",
                received=f"twice: {', '.join(twice)}",
                cure="Give each structure another name.",
            )
        if "mean" in names:
            raise LabelError(
                'No structure is called "mean": so the summary calls all of them together.',
                received="a label of this name",
                cure="Give it another name with --labels.",
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the labels, then of the regions."""
        return (*(one.name for one in self.labels), *(one.name for one in self.regions))

    @property
    def values(self) -> frozenset[int]:
        """All label values that a mask may hold beside 0."""
        parts = (value for region in self.regions for value in region.values)
        return frozenset([*(label.value for label in self.labels), *parts])

    def values_of(self, name: str) -> tuple[int, ...]:
        """The label values that a structure is made of.

        Raises:
            LabelError: If there is no structure of this name.
        """
        for label in self.labels:
            if label.name == name:
                return (label.value,)
        for region in self.regions:
            if region.name == name:
                return region.values
        raise LabelError(
            "Structures are named as the labels or regions are.",
            received=f"{name!r}; there are {', '.join(self.names) or 'none'}",
            cure="Check the spelling, or give names with --labels.",
        )

    def keyed(self) -> Labels:
        """All structures as labels: regions have values that no label uses, from 65535 down."""
        free = (value for value in range(LARGEST_LABEL, 0, -1) if value not in self.values)
        keys = [Label(value=next(free), name=region.name) for region in self.regions]
        return (*self.labels, *keys)


def parse_region(text: str, labels: Sequence[Label]) -> Region:
    """A region as it is typed: `whole tumour=1,2,4`, or by the names of labels.

    Raises:
        LabelError: If it has no such form, or names a label that is not there.
    """
    name, equals, parts = text.partition("=")
    by_name = {label.name: label.value for label in labels}
    words = [word.strip() for word in parts.split(",")]
    if not equals or not name.strip() or not all(words):
        raise LabelError(
            "A region is a name and the values or labels that it is made of.",
            received=repr(text),
            cure='Write it as --region "whole tumour=1,2,4".',
        )
    unknown = [word for word in words if word not in by_name and not word.isdecimal()]
    if unknown:
        raise LabelError(
            "A region is made of values, or of labels by their names.",
            received=f"{unknown[0]!r} in {text!r}; labels are {', '.join(by_name) or 'not named'}",
            cure="Check the spelling, or give names with --labels.",
        )
    return Region(name.strip(), tuple(by_name[w] if w in by_name else int(w) for w in words))


def disjoint(regions: Iterable[Region]) -> list[list[Region]]:
    """Regions in as few groups as a greedy choice finds, none of which holds a value twice.

    The regions of a group are scored together, as if they were labels.
    """
    groups: list[list[Region]] = []
    for region in regions:
        for group in groups:
            if not any(set(region.values) & set(other.values) for other in group):
                group.append(region)
                break
        else:
            groups.append([region])
    return groups


def merged(array: IntArray, regions: Sequence[Region]) -> IntArray:
    """A label map of disjoint regions: the n-th is n + 1, all else 0.

    Args:
        array: Label values, shape (I, J, K).
        regions: Regions without a common value.
    """
    table = np.zeros(max(int(array.max(initial=0)), max(max(r.values) for r in regions)) + 1, int)
    for n, region in enumerate(regions):
        table[list(region.values)] = n + 1
    return np.asarray(table.astype(np.min_scalar_type(len(regions)))[array])
