"""Many predictions against their references: every case scored, none dropped in silence."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medseg.errors import EvaluationError, LabelError
from medseg.metrics.case import LabelScores
from medseg.progress import SILENT, Progress
from medseg.report.scores.masks import read_pair as read_pair
from medseg.report.scores.names import IGNORED_KEY, read_record, structures_within
from medseg.report.scores.pairs import Pair, Pairs, files_for, find_pairs
from medseg.report.scores.score_one import NamedScores, score_pair
from medseg.report.scores.settings import ScoreSettings
from medseg.report.scores.structures import Region, Structures
from medseg.report.scores.summary import LabelSummary, summarise
from medseg.volume.labels import Label, Labels

if TYPE_CHECKING:
    from medseg.metrics.calibration import Calibration
    from medseg.metrics.lesions import LesionScores, PanopticScores

_DEFAULT = ScoreSettings()


@dataclass(frozen=True)
class CaseScores:
    """One case.

    Attributes:
        pair: Its files.
        scores: By the value of `Evaluation.labels`.
        diagonal_mm: From corner to corner of the grid: no distance can be larger.
        lesions: Of the structures whose connected parts are judged by themselves, by value.
        objects: Of masks that number objects.
        calibration: Of the structures for which there are probabilities, by value.
        resampled: Whether the prediction was brought onto the grid of the reference.
    """

    pair: Pair
    scores: dict[int, LabelScores]
    diagonal_mm: float
    lesions: Mapping[int, "LesionScores"] = field(default_factory=dict)
    objects: "PanopticScores | None" = None
    calibration: Mapping[int, "Calibration"] = field(default_factory=dict)
    resampled: bool = False

    @property
    def mean_dice(self) -> float:
        """Mean Dice over the structures."""
        return float(np.mean([scores.dice for scores in self.scores.values()]))


@dataclass(frozen=True)
class Evaluation:
    """What many predictions are worth.

    Attributes:
        cases: Ordered by name.
        labels: The structures that were scored. Regions come last and have values that no mask
            holds; `structures` says what they are made of.
        by_label: Means of each structure by name.
        overall: Means over all structures.
        pairs: Which files were compared, and which were without partner.
        settings: The definitions.
        structures: Labels and regions.
    """

    cases: tuple[CaseScores, ...]
    labels: Labels
    by_label: dict[str, LabelSummary]
    overall: LabelSummary
    pairs: Pairs
    settings: ScoreSettings = _DEFAULT
    structures: Structures = field(default_factory=Structures)

    @property
    def tolerance_mm(self) -> float:
        """Of the normalised surface Dice, where a structure has no tolerance of its own."""
        return self.settings.tolerance_mm

    @property
    def missing(self) -> tuple[str, ...]:
        """Scored cases without a prediction: all their structures count as missed."""
        return tuple(case.pair.case for case in self.cases if case.pair.predicted is None)

    @property
    def resampled(self) -> tuple[str, ...]:
        """Cases whose prediction had another grid."""
        return tuple(case.pair.case for case in self.cases if case.resampled)


def evaluate(
    predictions: Path,
    references: Path,
    *,
    labels: Labels | None = None,
    regions: Sequence[Region] = (),
    ignored_value: int | None = None,
    settings: ScoreSettings = _DEFAULT,
    probabilities: Path | None = None,
    allow_missing: bool = False,
    only_predicted: bool = False,
    resume_in: Path | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """Score masks against references.

    Files are paired by their stem. Where names are not given they are those of the data set that
    the references are, else those of the `predictions.json` beside the predictions, else each value
    is called `label_<value>`. Where networks find regions, these are scored, and not the labels
    that they are made of; what nobody has judged is left out. A prediction may have its axes in
    another order than its reference.

    Args:
        predictions: A folder of masks (any format, DICOM-SEG too), or one file.
        references: A folder of masks, one file, or a data set.
        labels: The structures to score; () for regions alone.
        regions: Unions of label values that are scored as structures.
        ignored_value: What references hold where nobody has judged; None for what the data set, or
            `predictions.json`, says.
        settings: The definitions.
        probabilities: A folder with an image for each case, a channel for each label.
        allow_missing: Let all structures of a reference without a prediction count as missed.
        only_predicted: Leave out references without a prediction. Without one of these two such
            references are refused.
        resume_in: A folder for results. What was scored there before an interruption is not
            scored again; `medseg.report.scores.resume.forget` removes it.
        workers: Threads; None for one per core.
        progress: Told after each case.

    Raises:
        MissingPath: If a path is not there.
        MissingPredictions: If a reference has no prediction and nothing is said about it.
        EvaluationError: If nothing fits together.
        DifferentSpace: If a prediction lies on another grid than its reference.
        LabelError: If a mask holds a value without a name, or fractions.
        FileError: If a mask cannot be read.
        CannotWrite: If what was scored cannot be kept.
    """
    pairs = find_pairs(predictions, references)
    if not (allow_missing or only_predicted):
        pairs.require_all()
    beside = _told_beside(pairs, predictions)
    known = labels
    if labels is None and beside.names:
        known, regions = beside.labels, (*beside.regions, *regions)
    pairs = pairs.read_as(
        resample=settings.resample,
        objects_of=_objects_of(pairs, known, settings),
        ignored_value=beside.ignored_value if ignored_value is None else ignored_value,
    )
    if known is None and pairs.all and pairs.all[0].objects_of is not None:
        known = (Label(value=pairs.all[0].objects_of, name="object"),)
    if known is not None:
        _require_named(Structures(known, tuple(regions)), settings)
    chosen = [pair for pair in pairs.all if pair.predicted or not only_predicted]
    further = files_for(chosen, probabilities, what="Probabilities") if probabilities else {}
    job = _Job(known, tuple(regions), settings, further, resume_in)
    scored = job.run(chosen, workers or os.cpu_count() or 1, progress)
    return _concluded(list(zip(chosen, scored, strict=True)), pairs, job)


class _Job:
    """What is done with every case."""

    def __init__(
        self,
        labels: Labels | None,
        regions: tuple[Region, ...],
        settings: ScoreSettings,
        probabilities: Mapping[str, Path],
        resume_in: Path | None,
    ) -> None:
        self.labels, self.regions, self.settings = labels, regions, settings
        self._probabilities = probabilities
        self._ledger = None
        if resume_in is not None:
            from medseg.report.scores.resume import Ledger

            self._ledger = Ledger(resume_in)

    def run(self, pairs: Sequence[Pair], workers: int, progress: Progress) -> list[NamedScores]:
        """Score all cases, several at a time; what was scored is kept if one fails."""
        with (
            ThreadPoolExecutor(workers) as pool,
            progress.task("Scoring cases", len(pairs)) as task,
        ):
            jobs = [pool.submit(self._scored, pair) for pair in pairs]
            found = []
            try:
                for job in jobs:
                    found.append(job.result())
                    task.advance()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                if self._ledger is not None:
                    self._ledger.stop()
                raise
        return found

    def _scored(self, pair: Pair) -> NamedScores:
        further = self._probabilities.get(pair.case)
        if self._ledger is None:
            return score_pair(pair, self.labels, self.regions, self.settings, further)
        from medseg.report.scores.resume import key_of

        key = key_of(pair, self.labels, self.regions, self.settings, further)
        known = self._ledger.get(key)
        if known is None:
            known = score_pair(pair, self.labels, self.regions, self.settings, further)
            self._ledger.add(key, known)
        return known


def _concluded(scored: Sequence[tuple[Pair, NamedScores]], pairs: Pairs, job: _Job) -> Evaluation:
    """Give every case the same structures, and sum up."""
    labels = job.labels
    if labels is None:
        regions = {region.name for region in job.regions}
        found = {name for _, one in scored for name in one.scores} - regions
        values = sorted(int(name.removeprefix("label_")) for name in found)
        labels = tuple(Label(value=value, name=f"label_{value}") for value in values)
    structures = Structures(labels, job.regions)
    if not structures.names:
        raise EvaluationError(
            "There is something to score: a mask holds values above 0.",
            received=f"only background in {len(scored)} cases",
            cure="Check that the references are the masks and not the images, or give --labels.",
        )
    _require_named(structures, job.settings)
    keyed = structures.keyed()
    cases = tuple(_case(pair, one, keyed, job.settings) for pair, one in scored)
    by_label, overall = summarise(
        [list(case.scores.values()) for case in cases],
        [case.diagonal_mm for case in cases],
        [label.name for label in keyed],
    )
    return Evaluation(cases, keyed, by_label, overall, pairs, job.settings, structures)


def _case(pair: Pair, one: NamedScores, labels: Labels, settings: ScoreSettings) -> CaseScores:
    scores = {}
    for label in labels:
        tube = label.name in settings.tubes
        lacking = (
            LabelScores.absent(tube=tube)
            if pair.predicted
            else LabelScores.unpredicted(0.0, tube=tube)
        )
        scores[label.value] = one.scores.get(label.name, lacking)
    return CaseScores(
        pair=pair,
        scores=scores,
        diagonal_mm=one.diagonal_mm,
        lesions={x.value: one.lesions[x.name] for x in labels if x.name in one.lesions},
        objects=one.objects,
        calibration={x.value: one.calibration[x.name] for x in labels if x.name in one.calibration},
        resampled=one.resampled,
    )


def _told_beside(pairs: Pairs, predictions: Path) -> Structures:
    """What the data set says is scored, else what stands beside the predictions."""
    if pairs.dataset is not None:
        told = pairs.dataset
        regions = tuple(Region(region.name, region.values) for region in told.regions)
        return Structures(() if regions else told.labels, regions, told.ignored_value)
    record = read_record(predictions if predictions.is_dir() else predictions.parent)
    return structures_within({key: record.get(key) for key in ("labels", "regions", IGNORED_KEY)})


def _objects_of(pairs: Pairs, labels: Labels | None, settings: ScoreSettings) -> int | None:
    """The label of all objects, where masks number them; None where values are labels."""
    if not (settings.instances or (pairs.dataset is not None and pairs.dataset.instances)):
        return None
    if labels is not None and len(labels) != 1:
        raise LabelError(
            "Masks that number objects have one label.",
            received=f"{', '.join(label.name for label in labels) or 'none'}",
            cure="Name that label with --labels, or leave --instances out.",
        )
    return labels[0].value if labels else 1


def _require_named(structures: Structures, settings: ScoreSettings) -> None:
    """Pass if every structure that a setting names is there."""
    for name in settings.named:
        structures.values_of(name)
