"""What differs between two versions of a data set: cases, labels, and what all of them are like."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from pydantic import BaseModel

from medseg.dataset.manifest import CaseRecord, Manifest
from medseg.metrics.paired import SIGNIFICANT, holm
from medseg.specs import FROZEN
from medseg.types import FloatArray

_FEWEST = 3
"""Cases on either side from which on distributions are compared."""


class Relabelled(BaseModel):
    """A case with another label file.

    Attributes:
        case: Its name.
        same_voxels: Whether only the file differs, and no voxel.
        is_readable: Whether the later label can be read at all.
        before_ml: Volume of each structure in the earlier version; None without a label.
        after_ml: The same in the later one.
    """

    model_config = FROZEN

    case: str
    same_voxels: bool
    is_readable: bool = True
    before_ml: dict[str, float] | None
    after_ml: dict[str, float] | None

    @property
    def changes_ml(self) -> dict[str, float]:
        """How much each structure grew; negative where it shrank."""
        before, after = self.before_ml or {}, self.after_ml or {}
        return {
            name: round(after.get(name, 0.0) - before.get(name, 0.0), 6)
            for name in sorted({*before, *after})
        }

    @property
    def sentence(self) -> str:
        """What happened, for people."""
        if self.same_voxels:
            return f"{self.case}: the label file differs, its voxels do not."
        if self.before_ml is None or self.after_ml is None:
            return (
                f"{self.case}: {'has a label now' if self.before_ml is None else 'lost its label'}."
            )
        if not self.is_readable:
            return f"{self.case}: the label cannot be read any more."
        moved = {name: ml for name, ml in self.changes_ml.items() if abs(ml) >= 0.0005}
        if not moved:
            return f"{self.case}: voxels differ, volumes do not."
        return f"{self.case}: " + ", ".join(f"{n} {ml:+.3f} ml" for n, ml in moved.items()) + "."


class Fault(BaseModel):
    """A case of the later version that cannot be read.

    Attributes:
        case: Its name.
        what: Why.
    """

    model_config = FROZEN

    case: str
    what: str


class Shift(BaseModel):
    """One property of cases, in the earlier version and in what is new.

    Attributes:
        name: Such as "spacing K (mm)" or "mean of T1w".
        before: Median over the cases of the earlier version.
        after: Median over the cases that are new or have a new image; of the label, for volumes.
        p: Of the two-sample test of Kolmogorov and Smirnov, corrected by Holm over all properties.
        moved: Whether that is below 0.05.
    """

    model_config = FROZEN

    name: str
    before: float
    after: float
    p: float
    moved: bool

    @property
    def sentence(self) -> str:
        """What moved, for people."""
        return f"{self.name}: median {self.before:.4g} -> {self.after:.4g} (p = {self.p:.2g})."


class VersionDiff(BaseModel):
    """Two versions side by side.

    Attributes:
        before: Name of the earlier one.
        after: Name of the later one.
        added: Cases that only the later one has.
        removed: Cases that only the earlier one has.
        relabelled: Cases with another label.
        reimaged: Cases with other images.
        renamed: What changed in channels, labels, regions or patients, one sentence each.
        faulty: Cases of the later version that cannot be read.
        shifts: How new cases differ from the earlier ones, the least likely by chance first.
    """

    model_config = FROZEN

    before: str
    after: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    relabelled: tuple[Relabelled, ...] = ()
    reimaged: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()
    faulty: tuple[Fault, ...] = ()
    shifts: tuple[Shift, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether both hold the same."""
        return not (
            self.added or self.removed or self.relabelled or self.reimaged or self.renamed
        )  # fmt: skip


def diff(before: Manifest, after: Manifest, *, names: tuple[str, str]) -> VersionDiff:
    """Compare two manifests.

    Args:
        before: Of the earlier version.
        after: Of the later one.
        names: What they are called.
    """
    old, new = before.by_id, after.by_id
    both = [case for case in new if case in old]
    reimaged = tuple(case for case in both if old[case].image != new[case].image)
    relabelled = tuple(
        Relabelled(
            case=case,
            same_voxels=bool(new[case].voxels) and old[case].voxels == new[case].voxels,
            is_readable=not new[case].fault,
            before_ml=None if old[case].label is None else old[case].volumes_ml,
            after_ml=None if new[case].label is None else new[case].volumes_ml,
        )
        for case in both
        if old[case].label != new[case].label
    )
    added = tuple(case for case in new if case not in old)
    renewed = {*added, *reimaged, *(one.case for one in relabelled if not one.same_voxels)}
    return VersionDiff(
        before=names[0],
        after=names[1],
        added=added,
        removed=tuple(case for case in old if case not in new),
        relabelled=relabelled,
        reimaged=reimaged,
        renamed=_renamed(before, after),
        faulty=tuple(Fault(case=one.id, what=one.fault) for one in after.faulty),
        shifts=_shifts(before, [new[case] for case in sorted(renewed)]),
    )


def _renamed(before: Manifest, after: Manifest) -> tuple[str, ...]:
    found = []
    facts: dict[str, Callable[[Manifest], object]] = {
        "The data set's name": lambda one: one.dataset,
        "Channels": lambda one: [channel.name for channel in one.channels],
        "Labels": lambda one: {label.value: label.name for label in one.labels},
        "Regions": lambda one: {region.name: region.values for region in one.regions},
        "The ignored value": lambda one: one.ignored_value,
    }
    for what, fact in facts.items():
        if fact(before) != fact(after):
            found.append(f"{what}: {fact(before)} -> {fact(after)}.")
    old = before.by_id
    patients = [c.id for c in after.cases if c.id in old and old[c.id].patient != c.patient]
    if patients:
        found.append(
            f"Patient of {', '.join(patients[:5])}{', ...' * (len(patients) > 5)} changed."
        )
    return tuple(found)


def _shifts(before: Manifest, renewed: Sequence[CaseRecord]) -> tuple[Shift, ...]:
    """How cases that are new differ from all that were there; none where there are too few."""
    from scipy.stats import ks_2samp

    old, new = _properties(before.cases, before), _properties(renewed, before)
    names = [n for n in old if n in new and min(len(old[n]), len(new[n])) >= _FEWEST]
    raw = [float(ks_2samp(old[name], new[name]).pvalue) for name in names]
    shifts = [
        Shift(
            name=name,
            before=float(np.median(old[name])),
            after=float(np.median(new[name])),
            p=p,
            moved=p < SIGNIFICANT,
        )
        for name, p in zip(names, holm(raw), strict=True)
    ]
    return tuple(sorted(shifts, key=lambda one: one.p))


def _properties(cases: Sequence[CaseRecord], head: Manifest) -> Mapping[str, FloatArray]:
    """Numbers by name, one for each case that has it."""
    found: dict[str, list[float]] = {}
    for case in cases:
        for axis, spacing in zip("IJK", case.spacing_mm or (), strict=False):
            found.setdefault(f"spacing {axis} (mm)", []).append(spacing)
        for channel, values in zip(head.channels, case.intensities, strict=False):
            found.setdefault(f"mean of {channel.name}", []).append(values.mean)
            found.setdefault(f"deviation of {channel.name}", []).append(values.std)
        for name, ml in case.volumes_ml.items():
            found.setdefault(f"volume of {name} (ml)", []).append(ml)
    return {name: np.array(numbers) for name, numbers in found.items()}
