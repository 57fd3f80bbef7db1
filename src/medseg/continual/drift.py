"""Is today's data still the data that a bundle knows? Windows of cases against a baseline.

Cases are taken in their order, a window of so many at a time, and the window is judged after each
of them. There is an alarm once any statistic (see `drift_statistics`) is more surprising than its
threshold in the baseline; the report says which ones, since which case, and how strange each case
is. No case needs a label; where references are known, their Dice is a statistic more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel

from medseg.bundle import Bundle
from medseg.continual.drift_baseline import DriftBaseline
from medseg.continual.drift_observation import (
    DICE,
    NONE_KNOWN,
    PREDICTED,
    Observation,
    ObservationLog,
    Observer,
    Unobserved,
    observe_all,
)
from medseg.continual.drift_statistics import VIEWS, Course, Kind, Reference, since
from medseg.errors import DriftError
from medseg.files import write_text
from medseg.inference.engine import Device
from medseg.inference.inputs import CaseInput
from medseg.progress import SILENT, Progress
from medseg.specs import FROZEN
from medseg.types import FloatArray

REPORT_FILE = "drift_report.json"

STRANGE_P = 0.05
"""A case is named where its p-value is below."""

Group = Literal["image", "encoder", "mask", "reference"]
"""What a statistic is about: the input, the network's view of it, the mask, or its Dice."""


class Statistic(BaseModel):
    """What one statistic says at the end of the cases, or when it was most surprising.

    Attributes:
        name: What is compared, such as "image.noise_k", or "encoder" for embeddings.
        kind: How.
        group: What it is about.
        surprise: The highest, over all windows: -log10 of a nominal probability.
        threshold: Of its kind.
        moved: Whether the surprise is above it.
        since: The case with which the change began, where it has moved.
        usual: Median of the baseline; None where the statistic is not of one number.
        now: Median of the cases from `since` on (of all, where nothing moved); None likewise.
    """

    model_config = FROZEN

    name: str
    kind: Kind
    group: Group
    surprise: float
    threshold: float
    moved: bool
    since: str | None = None
    usual: float | None = None
    now: float | None = None


class CaseFinding(BaseModel):
    """How strange one case is by itself.

    Attributes:
        case: Its name.
        p: Conformal p-value by view: the share of usual cases that are at least as strange.
        level: The highest surprise of any statistic after this case, as a share of its threshold:
            above 1 there is an alarm.
        strange: Whether a p-value is below `STRANGE_P`.
        predicted_dice: What its mask is expected to have; None without a model of quality.
        dice: What it has, where its reference is known.
    """

    model_config = FROZEN

    case: str
    p: dict[str, float]
    level: float
    strange: bool
    predicted_dice: float | None = None
    dice: float | None = None


class Unread(BaseModel):
    """A case that could not be looked at.

    Attributes:
        case: Its name.
        code: The error's code.
        message: Its sentence.
    """

    model_config = FROZEN

    case: str
    code: str
    message: str


class DriftReport(BaseModel):
    """What was found.

    Attributes:
        alarm: Whether any statistic went above the threshold in any window.
        since: The case with which the change most likely began; None without an alarm.
        alarm_at: The case after which the alarm was raised first; None without one.
        delay_cases: How many cases of its window had been seen by then.
        statistics: All of them, the one furthest above its threshold first.
        cases: All cases, in their order.
        unread: Cases that could not be looked at.
        false_alarm_rate: Share of windows without a change that raise one all the same.
        window: Cases that are judged together.
        baseline_cases: Cases of the baseline.
        learned_from: How many of these the networks have learned from.
        bundle: Whose networks looked.
    """

    model_config = FROZEN

    alarm: bool
    since: str | None
    alarm_at: str | None
    delay_cases: int | None
    statistics: tuple[Statistic, ...]
    cases: tuple[CaseFinding, ...]
    unread: tuple[Unread, ...] = ()
    false_alarm_rate: float
    window: int
    baseline_cases: int
    learned_from: int
    bundle: str

    @property
    def moved(self) -> tuple[Statistic, ...]:
        """Statistics above their threshold."""
        return tuple(one for one in self.statistics if one.moved)


@dataclass(frozen=True, eq=False)
class Watched:
    """A report and what it was made from.

    Attributes:
        report: What was found.
        observations: Of the cases that could be looked at, in their order.
    """

    report: DriftReport
    observations: tuple[Observation, ...]


def check(
    bundle: Bundle,
    cases: Sequence[CaseInput],
    baseline: DriftBaseline,
    *,
    references: Mapping[str, Path] = NONE_KNOWN,
    folder: Path | None = None,
    device: Device = "auto",
    progress: Progress = SILENT,
) -> DriftReport:
    """Look at cases and compare them with a baseline.

    Args:
        bundle: Whose networks look.
        cases: In the order in which they came.
        baseline: Of this bundle.
        references: Label files by the name of the case, where they are known.
        folder: Where `observations.jsonl` keeps what was seen, so that nothing is looked at twice.
        device: Where the networks run.
        progress: Told after each case.

    Raises:
        DriftError: If no case can be looked at.
    """
    observer = Observer(bundle, device=device)
    return watched(
        observer, cases, baseline, references=references, folder=folder, progress=progress
    ).report


def watched(
    observer: Observer,
    cases: Sequence[CaseInput],
    baseline: DriftBaseline,
    *,
    references: Mapping[str, Path] = NONE_KNOWN,
    folder: Path | None = None,
    progress: Progress = SILENT,
) -> Watched:
    """The same as `check`, with the observations; for whoever looks again and again.

    Raises:
        DriftError: If no case can be looked at.
    """
    log = None if folder is None else ObservationLog(folder, observer.bundle)
    found = list(observe_all(cases, observer, references=references, log=log, progress=progress))
    seen = tuple(one for one in found if isinstance(one, Observation))
    unread = tuple(one for one in found if isinstance(one, Unobserved))
    return Watched(judge(seen, baseline, unread=unread), seen)


def judge(
    observations: Sequence[Observation],
    baseline: DriftBaseline,
    *,
    unread: Sequence[Unobserved] = (),
) -> DriftReport:
    """Compare observations with a baseline, window by window.

    Args:
        observations: In the order in which the cases came.
        baseline: What is usual.
        unread: Cases that could not be looked at, for the record.

    Raises:
        DriftError: If there is no observation.
    """
    if not observations:
        first = unread[0].message if unread else "no case"
        raise DriftError(
            "Drift is told from at least one case that can be looked at.",
            received=first.rstrip("."),
            cure="Give cases of the kind that the bundle was made for.",
        )
    about, reference = baseline.about, Reference(baseline.sample)
    sample = baseline.sample_of(observations)
    starts = range(0, sample.size, about.window)
    courses = [reference.course(sample.take(slice(n, n + about.window))) for n in starts]
    surprise = np.concatenate([course.all for course in courses])
    thresholds = np.array([about.thresholds[kind] for kind in courses[0].kinds])
    highest = (surprise / thresholds).max(1)
    above = np.flatnonzero(highest > 1)
    statistics = _statistics(baseline, observations, courses, surprise)
    alarm = bool(len(above))
    return DriftReport(
        alarm=alarm,
        since=next((one.since for one in statistics if one.moved), None),
        alarm_at=observations[above[0]].case if alarm else None,
        delay_cases=int(above[0]) % about.window + 1 if alarm else None,
        statistics=statistics,
        cases=_cases(observations, np.concatenate([c.case_p for c in courses]), highest),
        unread=tuple(Unread(case=x.case, code=x.code, message=x.message) for x in unread),
        false_alarm_rate=about.false_alarm_rate,
        window=about.window,
        baseline_cases=len(about.cases),
        learned_from=about.learned_from,
        bundle=about.bundle,
    )


def save_report(report: DriftReport, folder: Path) -> Path:
    """Write `drift_report.json`, whole or not at all.

    Raises:
        CannotWrite: If it cannot be written.
    """
    path = folder / REPORT_FILE
    write_text(path, report.model_dump_json(indent=1) + "\n")
    return path


def _statistics(
    baseline: DriftBaseline,
    observations: Sequence[Observation],
    courses: Sequence[Course],
    surprise: FloatArray,
) -> tuple[Statistic, ...]:
    names = [*baseline.about.image, *baseline.about.mask]
    usual = np.concatenate([baseline.sample.image, baseline.sample.mask], axis=1)
    sample = baseline.sample_of(observations)
    now = np.concatenate([sample.image, sample.mask], axis=1)
    scores = np.concatenate([course.scores for course in courses])
    case_p = np.concatenate([course.case_p for course in courses])
    window, thresholds = baseline.about.window, baseline.about.thresholds
    found = []
    for n, (name, kind, group) in enumerate(_named(names, surprise.shape[1])):
        worst = int(surprise[:, n].argmax())
        moved = bool(surprise[worst, n] > thresholds[kind])
        start = worst - worst % window
        if moved and kind == "ks":
            start += since(scores[start : worst + 1, n])
        elif moved:
            view = -1 if group == "reference" else VIEWS.index(group)
            start += since(_strangeness(case_p[start : worst + 1, view]), one_sided=True)
        is_number = n < len(names)
        found.append(
            Statistic(
                name=name, kind=kind, group=group, surprise=float(surprise[worst, n]),
                threshold=thresholds[kind], moved=moved,
                since=observations[start].case if moved else None,
                usual=float(np.median(usual[:, n])) if is_number else None,
                now=float(np.median(now[start if moved else 0 :, n])) if is_number else None,
            )
        )  # fmt: skip
    return tuple(sorted(found, key=lambda one: -one.surprise / one.threshold))


def _named(names: Sequence[str], count: int) -> list[tuple[str, Kind, Group]]:
    """Name, kind and group of each surprise, in the order of `Course.all`."""
    found: list[tuple[str, Kind, Group]] = [
        (name, "ks", "image" if name.startswith("image.") else "mask") for name in names
    ]
    components = count - len(names) - len(VIEWS) - 2
    found += [(f"encoder.component_{n + 1}", "ks", "encoder") for n in range(components)]
    found.append(("encoder", "mmd", "encoder"))
    found += [("image", "cusum", "image"), ("encoder", "cusum", "encoder")]
    found += [("mask", "cusum", "mask"), (DICE, "cusum", "reference")]
    return found


def _strangeness(p: FloatArray) -> FloatArray:
    """p-values as scores of about mean 0 and deviation 1, high where p is small."""
    return np.asarray(np.nan_to_num(-np.log(p) - 1))


def _cases(
    observations: Sequence[Observation], case_p: FloatArray, highest: FloatArray
) -> tuple[CaseFinding, ...]:
    found = []
    for one, p, level in zip(observations, case_p, highest, strict=True):
        named = dict(zip((*VIEWS, DICE), map(float, p), strict=True))
        known = {name: value for name, value in named.items() if np.isfinite(value)}
        found.append(
            CaseFinding(
                case=one.case,
                p=known,
                level=float(level),
                strange=min(known.values()) < STRANGE_P,
                predicted_dice=one.values.get(PREDICTED),
                dice=one.values.get(DICE),
            )
        )
    return tuple(found)
