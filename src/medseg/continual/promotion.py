"""The written rule by which a candidate takes the place of the bundle in use, or does not."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, Field

from medseg.metrics.paired import gain_of
from medseg.specs import FROZEN

Domain = Literal["old", "new"]
"""Cases as the bundle in use knows them, or as they are since the change."""

_DOMAINS: tuple[Domain, ...] = ("old", "new")

_STANDARD_ERRORS, _MENDED = 4.0, 0.05
"""A mean displacement is no chance from so many standard errors on; Dice that moving back mends."""


class PromotionRule(BaseModel):
    """When a candidate is promoted. All conditions must hold.

    Attributes:
        new_gain: Mean gain in Dice on the new domain must be above this.
        new_firm: Whether the 95 % interval of that gain must lie above zero as well.
        old_loss: Mean loss in Dice on the old domain must not be larger than this.
        old_structure_loss: Nor that of any single structure there than this.
        label_offset_mm: New labels that lie, on average over their cases, further than this from
            the masks of the bundle in use, and fit them once moved back, are taken for shifted.
        fewest_new: Fewer judged cases of the new domain decide nothing.
    """

    model_config = FROZEN

    new_gain: float = Field(0.0, ge=-1, le=1)
    new_firm: bool = True
    old_loss: float = Field(0.005, ge=0, le=1)
    old_structure_loss: float = Field(0.02, ge=0, le=1)
    label_offset_mm: float = Field(2.0, gt=0)
    fewest_new: int = Field(3, ge=2)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The rule, for people."""
        firm = ", with its 95 % interval above zero" if self.new_firm else ""
        return (
            f"Dice on at least {self.fewest_new} cases of the new domain rises by more than "
            f"{self.new_gain:g}{firm}.",
            f"Dice on the old domain falls by no more than {self.old_loss:g}, and that of no "
            f"structure by more than {self.old_structure_loss:g}.",
            f"New labels lie, on average, within {self.label_offset_mm:g} mm of where the bundle "
            "in use sees the structures.",
        )


class Comparison(BaseModel):
    """The bundle in use and a candidate on the cases of one domain.

    Attributes:
        domain: Which one.
        cases: Their names.
        labels: Names of the structures.
        current: Dice of the bundle in use, one row for each case, one number for each structure.
        candidate: The same of the candidate.
    """

    model_config = FROZEN

    domain: Domain
    cases: tuple[str, ...] = Field(min_length=1)
    labels: tuple[str, ...] = Field(min_length=1)
    current: tuple[tuple[float, ...], ...]
    candidate: tuple[tuple[float, ...], ...]


class Change(BaseModel):
    """What a candidate changes on the cases of one domain.

    Attributes:
        domain: Which one.
        cases: How many.
        current: Mean Dice of the bundle in use.
        candidate: That of the candidate.
        gain: Mean of the differences of cases.
        ci_low: Lower end of its 95 % bootstrap interval; None below two cases.
        ci_high: Its upper end.
        p: Two-sided, of Wilcoxon's signed-rank test.
        by_label: Mean gain of each structure.
    """

    model_config = FROZEN

    domain: Domain
    cases: int
    current: float
    candidate: float
    gain: float
    ci_low: float | None
    ci_high: float | None
    p: float
    by_label: dict[str, float]

    @property
    def sentence(self) -> str:
        """The figures, for people."""
        low, high = self.ci_low, self.ci_high
        interval = "" if low is None or high is None else f", 95 % {low:+.4f} to {high:+.4f}"
        return (
            f"Dice on {self.cases} cases of the {self.domain} domain: {self.current:.4f} -> "
            f"{self.candidate:.4f} ({self.gain:+.4f}{interval}; p = {self.p:.2g})."
        )


class Displacement(NamedTuple):
    """Where the label of one case lies, seen from the mask of the bundle in use.

    Attributes:
        mm: From the centre of the mask to that of the label, along R, A and S.
        dice: Of label and mask, all structures as one.
        dice_moved_back: The same once the label was moved back by whole voxels.
    """

    mm: tuple[float, float, float]
    dice: float
    dice_moved_back: float


class Offset(BaseModel):
    """How far new labels lie from the masks of the bundle in use.

    Attributes:
        cases: How many were compared.
        mean_mm: Mean displacement along R, A and S.
        distance_mm: Its length.
        spread_mm: Standard error of that mean.
        dice_gain: How much better labels and masks agree once labels were moved back, on average.
    """

    model_config = FROZEN

    cases: int
    mean_mm: tuple[float, float, float]
    distance_mm: float
    spread_mm: float
    dice_gain: float

    def is_beyond(self, limit_mm: float) -> bool:
        """Whether labels look shifted: far, all in one direction, and right once moved back.

        Masks of a part of a structure lie apart from its label too, but moving does not mend them.

        Args:
            limit_mm: What is far.
        """
        firm = self.cases >= 2 and self.distance_mm > _STANDARD_ERRORS * self.spread_mm
        return firm and self.distance_mm > limit_mm and self.dice_gain > _MENDED


class Verdict(BaseModel):
    """What the rule says.

    Attributes:
        promote: Whether the candidate takes the place of the bundle in use.
        why: The reasons: what broke the rule, or that nothing did.
        changes: The figures, old domain first.
        offset: Where the new labels lie; None where no case could tell.
        labels_look_shifted: Whether that is why.
    """

    model_config = FROZEN

    promote: bool
    labels_look_shifted: bool = False
    why: tuple[str, ...]
    changes: tuple[Change, ...]
    offset: Offset | None = None


def change_of(comparison: Comparison) -> Change:
    """Sum up a comparison: paired differences, their interval and their test."""
    current, candidate = np.array(comparison.current), np.array(comparison.candidate)
    gain = gain_of(candidate.mean(axis=1) - current.mean(axis=1))
    by_label = (candidate - current).mean(axis=0)
    return Change(
        domain=comparison.domain,
        cases=len(comparison.cases),
        current=float(current.mean()),
        candidate=float(candidate.mean()),
        gain=gain.mean,
        ci_low=gain.ci_low,
        ci_high=gain.ci_high,
        p=gain.p,
        by_label=dict(zip(comparison.labels, map(float, by_label), strict=True)),
    )


def offset_of(displacements: Sequence[Displacement]) -> Offset | None:
    """Sum up how far labels lie from masks; None without any case."""
    if not displacements:
        return None
    points = np.array([one.mm for one in displacements], dtype=np.float64)
    right, front, up = (float(x) for x in points.mean(axis=0))
    spread = points.std(axis=0, ddof=1) if len(points) > 1 else np.zeros(3)
    gains = [one.dice_moved_back - one.dice for one in displacements]
    return Offset(
        cases=len(points),
        mean_mm=(right, front, up),
        distance_mm=float(np.linalg.norm(points.mean(axis=0))),
        spread_mm=float(np.linalg.norm(spread) / np.sqrt(len(points))),
        dice_gain=float(np.mean(gains)),
    )


def judge(rule: PromotionRule, comparisons: Sequence[Comparison], offset: Offset | None) -> Verdict:
    """Apply the rule.

    Args:
        rule: The rule.
        comparisons: One for each domain; the rule needs both.
        offset: Where new labels lie.
    """
    changes = {one.domain: change_of(one) for one in comparisons}
    shifted = offset is not None and offset.is_beyond(rule.label_offset_mm)
    broken = [*_broken_by_new(rule, changes), *_broken_by_old(rule, changes)]
    if shifted and offset is not None:
        broken.append(
            f"New labels lie {offset.distance_mm:.1f} mm from where the bundle in use sees the "
            f"structures, in one direction in {offset.cases} cases: they look shifted."
        )
    ordered = tuple(changes[domain] for domain in _DOMAINS if domain in changes)
    why = tuple(broken) or ("Every condition of the rule holds.",)
    return Verdict(
        promote=not broken, labels_look_shifted=shifted, why=why, changes=ordered, offset=offset
    )


def _broken_by_new(rule: PromotionRule, changes: Mapping[Domain, Change]) -> list[str]:
    new = changes.get("new")
    if new is None or new.cases < rule.fewest_new:
        return [
            f"The new domain is judged on at least {rule.fewest_new} cases; there are "
            f"{new.cases if new else 0}."
        ]
    if new.gain <= rule.new_gain:
        return [f"Dice on the new domain changes by {new.gain:+.4f}, not more than "
                f"{rule.new_gain:+g}."]  # fmt: skip
    if rule.new_firm and new.ci_low is not None and new.ci_low <= 0:
        return [
            f"The gain on the new domain, {new.gain:+.4f}, may be chance: its 95 % interval "
            f"begins at {new.ci_low:+.4f}."
        ]
    return []


def _broken_by_old(rule: PromotionRule, changes: Mapping[Domain, Change]) -> list[str]:
    old = changes.get("old")
    if old is None:
        return ["The old domain is judged too; there is no case of it."]
    broken = []
    if old.gain < -rule.old_loss:
        broken.append(
            f"Dice on the old domain falls by {-old.gain:.4f}, more than {rule.old_loss:g}."
        )
    for name, gain in old.by_label.items():
        if gain < -rule.old_structure_loss:
            broken.append(
                f"Dice of {name} on the old domain falls by {-gain:.4f}, more than "
                f"{rule.old_structure_loss:g}."
            )
    return broken
