"""Many predictions against their references: every case scored, none dropped in silence."""

import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.dataset.description import DatasetDescription, read_case_label
from medseg.errors import DifferentSpace, EvaluationError, LabelError, MedsegError
from medseg.metrics.case import LabelScores, score_case
from medseg.progress import SILENT, Progress
from medseg.report.names import labels_within, read_record
from medseg.report.pairs import Pair, Pairs, find_pairs
from medseg.report.summary import LabelSummary, summarise
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_label_map
from medseg.volume.labels import Label, Labels, make_labels
from medseg.volume.volume import LabelMap

ABSENT = LabelScores("both_empty", 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0)
"""Scores of a structure that neither map holds."""


@dataclass(frozen=True)
class CaseScores:
    """One case.

    Attributes:
        pair: Its files.
        scores: By label value.
        diagonal_mm: From corner to corner of the grid: no distance can be larger.
    """

    pair: Pair
    scores: dict[int, LabelScores]
    diagonal_mm: float

    @property
    def mean_dice(self) -> float:
        """Mean Dice over the structures."""
        return float(np.mean([scores.dice for scores in self.scores.values()]))


@dataclass(frozen=True)
class Evaluation:
    """What many predictions are worth.

    Attributes:
        cases: Ordered by name.
        labels: The structures that were scored.
        by_label: Means of each structure by name.
        overall: Means over all structures.
        pairs: Which files were compared, and which were without partner.
        tolerance_mm: Of the normalised surface Dice.
    """

    cases: tuple[CaseScores, ...]
    labels: Labels
    by_label: dict[str, LabelSummary]
    overall: LabelSummary
    pairs: Pairs
    tolerance_mm: float

    @property
    def missing(self) -> tuple[str, ...]:
        """Scored cases without a prediction: all their structures count as missed."""
        return tuple(case.pair.case for case in self.cases if case.pair.predicted is None)


def evaluate(
    predictions: Path,
    references: Path,
    *,
    labels: Labels | None = None,
    tolerance_mm: float = 1.0,
    only_predicted: bool = False,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """Score masks against references.

    Files are paired by their stem. Where names are not given they are those of the data set that
    the references are, else those of the `predictions.json` beside the predictions, else each value
    is called `label_<value>`. A prediction may have its axes in another order than its reference.

    Args:
        predictions: A folder of masks (any format, DICOM-SEG too), or one file.
        references: A folder of masks, one file, or a data set.
        labels: The structures to score.
        tolerance_mm: Surface distance that still counts as right, for the surface Dice.
        only_predicted: Leave out references without a prediction; otherwise all their structures
            count as missed.
        workers: Threads; None for one per core.
        progress: Told after each case.

    Raises:
        MissingPath: If a path is not there.
        EvaluationError: If nothing fits together.
        DifferentSpace: If a prediction lies on another grid than its reference.
        LabelError: If a mask holds a value without a name, or fractions.
        FileError: If a mask cannot be read.
    """
    pairs = find_pairs(predictions, references)
    known = labels or (pairs.dataset.labels if pairs.dataset else None) or _recorded(predictions)
    chosen = [pair for pair in pairs.all if pair.predicted or not only_predicted]
    scored: list[CaseScores] = []
    with (
        ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool,
        progress.task("Scoring cases", len(chosen)) as task,
    ):
        jobs = [pool.submit(_scored, pair, pairs.dataset, known, tolerance_mm) for pair in chosen]
        try:
            for job in jobs:
                scored.append(job.result())
                task.advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return _concluded(scored, pairs, known, tolerance_mm)


def read_pair(
    pair: Pair, dataset: DatasetDescription | None, labels: Labels | None
) -> tuple[LabelMap | None, LabelMap]:
    """The prediction, on the axes of the reference, and the reference.

    Raises:
        DifferentSpace: If they lie on different grids.
        LabelError: If one holds a value without a name, or fractions.
        FileError: If one cannot be read.
    """
    if pair.entry is not None and dataset is not None:
        reference = read_case_label(dataset, pair.entry)
    else:
        reference = _read_mask(pair.reference, labels, None)
    if pair.predicted is None:
        return None, reference
    predicted = _read_mask(pair.predicted, labels, reference.geometry)
    return _on_axes_of(predicted, reference.geometry, pair), reference


def _scored(
    pair: Pair, dataset: DatasetDescription | None, labels: Labels | None, tolerance_mm: float
) -> CaseScores:
    """Score a case; an error says in which case it arose."""
    try:
        return _score(pair, dataset, labels, tolerance_mm)
    except MedsegError as error:
        if pair.case in str(error):
            raise
        received = f"{error.received} in case {pair.case}".strip()
        raise type(error)(error.rule, received=received, cure=error.cure) from error


def _score(
    pair: Pair, dataset: DatasetDescription | None, labels: Labels | None, tolerance_mm: float
) -> CaseScores:
    predicted, reference = read_pair(pair, dataset, labels)
    named = labels or _all_labels([reference, predicted] if predicted else [reference])
    values = [label.value for label in named]
    scores = score_case(
        reference.array if predicted is None else predicted.array,
        reference.array,
        values=values,
        spacing_mm=reference.spacing_mm,
        tolerance_mm=tolerance_mm,
    )
    if predicted is None:
        scores = {value: _unpredicted(found.reference_ml) for value, found in scores.items()}
    extent = np.multiply(reference.geometry.grid_size, reference.spacing_mm)
    return CaseScores(pair, scores, float(np.linalg.norm(extent)))


def _unpredicted(reference_ml: float) -> LabelScores:
    """A case that was never predicted is missed in every structure, even in absent ones."""
    return LabelScores("missed", 0.0, 0.0, math.inf, math.inf, math.inf, 0.0, 0.0, reference_ml)


def _concluded(
    scored: Sequence[CaseScores], pairs: Pairs, known: Labels | None, tolerance_mm: float
) -> Evaluation:
    """Give every case the same structures, and sum up."""
    found = sorted({value for case in scored for value in case.scores})
    labels = known or make_labels(Label(value=v, name=f"label_{v}") for v in found)
    if not labels:
        raise EvaluationError(
            "There is something to score: a mask holds values above 0.",
            received=f"only background in {len(scored)} cases",
            cure="Check that the references are the masks and not the images, or give --labels.",
        )
    if any(label.name == "mean" for label in labels):
        raise LabelError(
            'No structure is called "mean": so the summary calls all of them together.',
            received="a label of this name",
            cure="Give it another name with --labels.",
        )
    cases = tuple(
        CaseScores(
            case.pair,
            {label.value: case.scores.get(label.value, _default(case)) for label in labels},
            case.diagonal_mm,
        )
        for case in scored
    )
    by_label, overall = summarise(
        [list(case.scores.values()) for case in cases],
        [case.diagonal_mm for case in cases],
        [label.name for label in labels],
    )
    return Evaluation(cases, labels, by_label, overall, pairs, tolerance_mm)


def _default(case: CaseScores) -> LabelScores:
    return ABSENT if case.pair.predicted else _unpredicted(0.0)


def _recorded(predictions: Path) -> Labels | None:
    """Names from the record that a prediction leaves beside its masks."""
    folder = predictions if predictions.is_dir() else predictions.parent
    return labels_within({"labels": read_record(folder).get("labels")}) or None


def _read_mask(path: Path, labels: Labels | None, reference: Geometry | None) -> LabelMap:
    if path.suffix.lower() != ".dcm":
        return read_label_map(path, labels)
    from medseg.volume.dicom_seg import read_segmentation

    label_map = read_segmentation(path, reference=reference)
    return label_map if labels is None else _renumbered(label_map, labels, path)


def _renumbered(label_map: LabelMap, labels: Labels, path: Path) -> LabelMap:
    """A DICOM-SEG numbers its segments from 1: its names say which values they are here."""
    value_of = {label.name: label.value for label in labels}
    value_of |= {label.name.casefold(): label.value for label in labels}
    lookup = np.zeros(int(label_map.array.max(initial=0)) + 1, np.uint16)
    present = {int(v) for v in np.unique(label_map.array)} - {0}
    for label in label_map.labels:
        value = value_of.get(label.name, value_of.get(label.name.casefold()))
        if label.value in present and value is None:
            raise LabelError(
                "Each segment has the name of a label.",
                received=f"{label.name!r} in {path.name}, "
                f"labels {', '.join(known.name for known in labels)}",
                cure="Name the segments and values with --labels.",
            )
        if value is not None and label.value < lookup.size:
            lookup[label.value] = value
    return LabelMap(lookup[label_map.array], label_map.geometry, labels, label_map.source)


def _on_axes_of(predicted: LabelMap, reference: Geometry, pair: Pair) -> LabelMap:
    """The prediction with the reference's axes, if it has the same voxels."""
    if not predicted.geometry.same_space(reference):
        predicted = predicted.reoriented(reference.orientation)
    if not predicted.geometry.same_space(reference):
        try:
            reference.require_same_space(
                predicted.geometry, what=f"reference and prediction of case {pair.case}"
            )
        except DifferentSpace as error:
            raise DifferentSpace(
                error.rule,
                received=error.received,
                cure=f"Put the prediction on the reference's grid first: "
                f"medseg convert {pair.predicted} OUT --reference {pair.reference}.",
            ) from error
    return predicted


def _all_labels(maps: Iterable[LabelMap]) -> Labels:
    """The labels of all maps; the same value means the same structure."""
    by_value = {label.value: label for one in maps for label in one.labels}
    return make_labels(by_value.values())
