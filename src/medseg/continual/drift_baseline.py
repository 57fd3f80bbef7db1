"""What is usual for a bundle: cases that stand for today, and thresholds calibrated on them.

Cases of the baseline are dealt out at random, again and again, into a window and a rest, and the
window is watched from its first case to its last as a new one would be. The highest surprise of any
statistic of each kind after any case is noted. Thresholds are such that no more than the stated
share of these windows exceed any of them, and each kind of statistic about as often as another.
That accounts for the number of statistics, their dependence and the repeated looks at once
(Westfall and Young, Resampling-Based Multiple Testing, 1993), without a model of any of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from medseg import __version__
from medseg.bundle import Bundle
from medseg.continual.drift_observation import DICE, PREDICTED, Observation
from medseg.continual.drift_statistics import KINDS, Kind, Reference, Sample
from medseg.errors import DriftError
from medseg.files import atomic_file, write_text
from medseg.progress import SILENT, Progress
from medseg.specs import FROZEN
from medseg.types import FloatArray

FILE_NAME, ARRAYS_NAME = "drift.json", "drift.safetensors"

WINDOW = 10
"""Cases that are judged together."""

FALSE_ALARM_RATE = 0.01
"""Share of windows without any change in which an alarm is raised all the same."""

FEWEST_CASES = 20
"""In a baseline; with windows of more than 10 cases, twice the window."""

RESAMPLES = 2000


class BaselineFile(BaseModel):
    """The content of `drift.json`.

    Attributes:
        format: Version of this form.
        medseg_version: What made it.
        created: Date and time in UTC, ISO 8601.
        bundle: Name of the bundle and first digits of its weights' SHA-256.
        weights_sha256: Of the bundle; a baseline is for these weights only.
        cases: Names of the cases.
        learned_from: How many of them the networks have learned from: with any, masks look better
            in the baseline than they will be on new cases.
        image: Names of numbers about images, in order.
        mask: Names of numbers about masks, in order.
        window: Cases that are judged together.
        false_alarm_rate: Share of windows without a change that raise an alarm.
        thresholds: Surprise above which there is an alarm, for each kind of statistic.
        resamples: Windows that they were calibrated on.
        seed: What they were drawn by.
    """

    model_config = FROZEN

    format: Literal[1] = 1
    medseg_version: str
    created: str
    bundle: str
    weights_sha256: str
    cases: tuple[str, ...]
    learned_from: int = 0
    image: tuple[str, ...]
    mask: tuple[str, ...]
    window: int = Field(ge=3)
    false_alarm_rate: float = Field(gt=0, lt=1)
    thresholds: dict[Kind, float]
    resamples: int
    seed: int


@dataclass(frozen=True, eq=False)
class DriftBaseline:
    """What is usual for a bundle.

    Attributes:
        about: Names, window and threshold.
        sample: Numbers of the cases.
    """

    about: BaselineFile
    sample: Sample

    def sample_of(self, observations: Sequence[Observation]) -> Sample:
        """Numbers of other cases in the order of this baseline.

        Raises:
            DriftError: If a case lacks one of them, or has another embedding.
        """
        length = self.sample.embedding.shape[1]
        for one in observations:
            lacking = {*self.about.image, *self.about.mask} - set(one.values)
            if lacking or len(one.embedding) != length:
                raise DriftError(
                    "A case is compared by the numbers of the baseline.",
                    received=f"{one.case} without {', '.join(sorted(lacking)) or 'its embedding'}",
                    cure="Make the baseline again with this version: medseg drift baseline.",
                )
        return as_sample(observations, self.about.image, self.about.mask)


def make_baseline(
    observations: Sequence[Observation],
    bundle: Bundle,
    *,
    window: int = WINDOW,
    false_alarm_rate: float = FALSE_ALARM_RATE,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress = SILENT,
) -> DriftBaseline:
    """Calibrate on usual cases.

    Args:
        observations: Of cases that the bundle was not trained on, at least `FEWEST_CASES` and twice
            the window.
        bundle: Whose they are.
        window: Cases that are judged together.
        false_alarm_rate: Share of windows without a change that may raise an alarm.
        resamples: Windows that are drawn.
        seed: What they are drawn by.
        progress: Told after each of them.

    Raises:
        DriftError: If there are too few cases, or too few windows for the rate.
    """
    _require_enough(len(observations), window, false_alarm_rate, resamples)
    image = _names(observations, "image.")
    mask = tuple(name for name in _names(observations, "mask.") if name != PREDICTED)
    sample = as_sample(observations, image, mask)
    highest = _highest_surprises(sample, window, resamples, seed, progress)
    learned = set(bundle.provenance.training_cases)
    about = BaselineFile(
        medseg_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        bundle=bundle.identity,
        weights_sha256=bundle.weights_sha256,
        cases=tuple(one.case for one in observations),
        learned_from=sum(one.case in learned for one in observations),
        image=image,
        mask=mask,
        window=window,
        false_alarm_rate=false_alarm_rate,
        thresholds=dict(zip(KINDS, _thresholds(highest, false_alarm_rate), strict=True)),
        resamples=resamples,
        seed=seed,
    )
    return DriftBaseline(about, sample)


def as_sample(
    observations: Sequence[Observation], image: Sequence[str], mask: Sequence[str]
) -> Sample:
    """Observations as arrays.

    Args:
        observations: At least one.
        image: Names of numbers about images.
        mask: Names of numbers about masks.
    """
    return Sample(
        image=np.array([[one.values[name] for name in image] for one in observations], float),
        mask=np.array([[one.values[name] for name in mask] for one in observations], float),
        embedding=np.array([one.embedding for one in observations], float),
        dice=np.array([one.values.get(DICE, np.nan) for one in observations], float),
    )


def save_baseline(baseline: DriftBaseline, folder: Path) -> Path:
    """Write `drift.json` and `drift.safetensors`, each whole or not at all.

    Returns:
        The path of `drift.json`.

    Raises:
        CannotWrite: If they cannot be written.
    """
    arrays = {name: np.ascontiguousarray(part) for name, part in baseline.sample._asdict().items()}
    with atomic_file(folder / ARRAYS_NAME) as temporary:
        temporary.write_bytes(save_arrays(arrays))
    path = folder / FILE_NAME
    write_text(path, baseline.about.model_dump_json(indent=1) + "\n")
    return path


def load_baseline(folder: Path, bundle: Bundle) -> DriftBaseline:
    """Read the baseline of a bundle.

    Args:
        folder: Where it lies: the bundle's own, usually.
        bundle: Whose it must be.

    Raises:
        DriftError: If there is none, if it cannot be read, or if it belongs to other weights.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise DriftError(
            "Drift is told by comparison with a baseline of usual cases.",
            received=f"no {FILE_NAME} in {folder}",
            cure="Make one: medseg drift baseline CASES --model BUNDLE.",
        )
    try:
        about = BaselineFile.model_validate_json(path.read_bytes())
        sample = Sample(**load_arrays((folder / ARRAYS_NAME).read_bytes()))
        fits = _fits(about, sample)
    except (OSError, ValidationError, SafetensorError, TypeError) as error:
        raise _unreadable(path, str(error).partition("\n")[0]) from error
    if not fits:
        raise _unreadable(path, f"other numbers of cases in {ARRAYS_NAME}")
    if about.weights_sha256 != bundle.weights_sha256:
        raise DriftError(
            "A baseline belongs to the weights that it was made with.",
            received=f"one of {about.bundle} for {bundle.identity}",
            cure="Make one for this bundle: medseg drift baseline CASES --model BUNDLE.",
        )
    return DriftBaseline(about, sample)


def _fits(about: BaselineFile, sample: Sample) -> bool:
    count = len(about.cases)
    return (
        sample.image.shape == (count, len(about.image))
        and sample.mask.shape == (count, len(about.mask))
        and len(sample.embedding) == len(sample.dice) == count
    )


def _unreadable(path: Path, received: str) -> DriftError:
    return DriftError(
        f"A baseline is read as it was written; {path} is not.",
        received=received,
        cure="Make it again: medseg drift baseline CASES --model BUNDLE.",
    )


def _names(observations: Sequence[Observation], prefix: str) -> tuple[str, ...]:
    """Numbers that all cases have."""
    shared = set.intersection(*(set(one.values) for one in observations))
    return tuple(name for name in observations[0].values if name in shared and
                 name.startswith(prefix))  # fmt: skip


def _require_enough(cases: int, window: int, rate: float, resamples: int) -> None:
    needed = max(FEWEST_CASES, 2 * window)
    if cases < needed:
        raise DriftError(
            f"A baseline for windows of {window} cases has at least {needed} usual cases.",
            received=f"{cases}",
            cure="Add usual cases, with or without labels, that the bundle has not learned from.",
        )
    if rate * resamples < 5:
        raise DriftError(
            "A false-alarm rate is told by five or more of the windows drawn.",
            received=f"{rate:g} of {resamples}",
            cure="Choose a higher rate.",
        )


def _thresholds(highest: FloatArray, rate: float) -> list[float]:
    """For each kind, so that `rate` of the windows exceed any, and each kind has its share of it.

    Args:
        highest: Of each window by kind, shape (R, 3).
        rate: Share of windows.
    """
    own = np.maximum(np.quantile(highest, 1 - rate, axis=0), 1e-3)
    together = np.quantile((highest / own).max(1), 1 - rate, method="higher")
    return [float(one * together) for one in own]


def _highest_surprises(
    sample: Sample, window: int, resamples: int, seed: int, progress: Progress
) -> FloatArray:
    """By kind, of windows drawn from the sample, each watched from its first case to its last."""
    rng = np.random.default_rng(seed)
    highest = np.empty((resamples, len(KINDS)))
    with progress.task("windows without a change", resamples) as task:
        for n in range(resamples):
            drawn = rng.permutation(sample.size)
            rest = Reference(sample.take(drawn[window:]))
            highest[n] = rest.course(sample.take(drawn[:window])).highest
            task.advance()
    return highest
