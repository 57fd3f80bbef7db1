"""Two or more models on the same cases: who is better, on which structure, and whether at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medseg.errors import EvaluationError
from medseg.report.scores.paired import paired_differences
from medseg.report.scores.ranking import Ranking, rank
from medseg.report.scores.score import Evaluation
from medseg.report.scores.score_table import ScoreTable, require_same_settings, table_of
from medseg.report.scores.summary import DISTANCES, OVERLAPS, Mean, mean_of
from medseg.report.scores.verdict import PairedDifference, headline_of

OVERALL = "mean"
"""How the mean over all structures of a case is called."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Models side by side, by one score.

    Attributes:
        names: Names of the models, in the order in which they were given.
        metric: Name of the score that decides.
        higher_is_better: Whether a larger score is better.
        cases: Names of the cases, which are the same for all models.
        labels: Names of the structures.
        numbers: For each model its scores, shape (cases, structures); a missed or invented
            structure has the diagonal of its image as distance; NaN where a score is not defined.
        means: For each model the mean of each structure, and of all as "mean", with intervals.
        lost: For each model and structure, and all as "mean", how often it was missed or invented.
        differences: Each pair of models on each structure, then each pair over all as "mean".
        ranking: By the mean over structures.
        rankings: The same for each structure.
        headline: Who wins, in one sentence.
        settings: Which definitions the scores follow.
    """

    names: tuple[str, ...]
    metric: str
    higher_is_better: bool
    cases: tuple[str, ...]
    labels: tuple[str, ...]
    numbers: Mapping[str, Numbers]
    means: Mapping[str, Mapping[str, Mean]]
    lost: Mapping[str, Mapping[str, int]]
    differences: tuple[PairedDifference, ...]
    ranking: Ranking
    rankings: Mapping[str, Ranking]
    headline: str
    settings: Mapping[str, object]

    @property
    def overall(self) -> tuple[PairedDifference, ...]:
        """The pairs over all structures."""
        return tuple(one for one in self.differences if one.label == OVERALL)


def compare(evaluations: Mapping[str, Evaluation], *, metric: str = "dice") -> Comparison:
    """Compare models that were evaluated on the same cases; see `compare_tables`.

    Args:
        evaluations: The evaluation of each model by its name.
        metric: The score that decides: an overlap or a distance.

    Raises:
        EvaluationError: As `compare_tables`.
    """
    return compare_tables(
        {name: table_of(evaluation) for name, evaluation in evaluations.items()}, metric=metric
    )


def compare_tables(
    tables: Mapping[str, ScoreTable], *, metric: str = "dice", only_common: bool = False
) -> Comparison:
    """Compare models by their scores, case by case.

    For each structure and each pair of models: the mean of the paired differences with a bootstrap
    interval over cases, and the p of Wilcoxon's signed-rank test (zero differences are ranked, as
    Pratt has it), corrected by Holm over all structures and pairs. The test over all structures
    takes the mean of each case's structures; its family is the pairs. A model wins where p is
    below 0.05 and the interval leaves out zero. A distance of a missed or invented structure is
    the diagonal of its image, so that no model gains by finding nothing.

    Args:
        tables: The scores of each model by its name.
        metric: The score that decides: an overlap or a distance.
        only_common: Leave out cases that some model lacks; otherwise they are refused.

    Raises:
        EvaluationError: If there are fewer than two models, if they were not scored on the same
            cases and structures by the same definitions, or if the score cannot decide.

    Source:
        Wilcoxon, Biometrics Bulletin 1(6), 1945; Pratt, JASA 54(287), 1959; Holm, Scandinavian
        Journal of Statistics 6(2), 1979.
    """
    tables = _aligned(tables, only_common=only_common)
    require_same_settings(tables)
    some = next(iter(tables.values()))
    numbers = {name: _penalised(table, metric, name) for name, table in tables.items()}
    higher = metric in OVERLAPS
    kept = _scored_columns(numbers, metric)
    labels = tuple(some.labels[n] for n in kept)
    numbers = {name: one[:, kept] for name, one in numbers.items()}
    columns = {
        label: {m: one[:, [n]] for m, one in numbers.items()} for n, label in enumerate(labels)
    }
    differences = (
        *paired_differences(columns, metric),
        *paired_differences({OVERALL: {m: _by_case(one) for m, one in numbers.items()}}, metric),
    )
    return Comparison(
        names=tuple(tables),
        metric=metric,
        higher_is_better=higher,
        cases=some.cases,
        labels=labels,
        numbers=numbers,
        means={name: _means(one, labels) for name, one in numbers.items()},
        lost={name: _lost(table.part(some.cases, labels)) for name, table in tables.items()},
        differences=differences,
        ranking=rank(numbers, higher_is_better=higher),
        rankings={label: rank(one, higher_is_better=higher) for label, one in columns.items()},
        headline=headline_of(tuple(tables), labels, differences, metric, len(some.cases)),
        settings=some.settings,
    )


def _aligned(tables: Mapping[str, ScoreTable], *, only_common: bool) -> dict[str, ScoreTable]:
    """All tables with the same cases and structures in the same order."""
    if len(tables) < 2:
        raise EvaluationError(
            "A comparison takes two or more models.",
            received=f"{len(tables)}",
            cure="Name each as NAME=FOLDER.",
        )
    (first, one), *others = tables.items()
    for name, other in others:
        if set(other.labels) != set(one.labels):
            raise EvaluationError(
                "Models are compared on the same structures.",
                received=f"{', '.join(one.labels)} of {first}, {', '.join(other.labels)} of {name}",
                cure="Evaluate both with the same --labels.",
            )
    every = set().union(*(table.cases for table in tables.values()))
    common = set(one.cases).intersection(*(table.cases for table in tables.values()))
    if not common or (common != every and not only_common):
        lacking = {name: sorted(every - set(table.cases)) for name, table in tables.items()}
        told = "; ".join(
            f"{name} lacks {len(gone)} ({', '.join(gone[:5])}{', ...' if len(gone) > 5 else ''})"
            for name, gone in lacking.items()
            if gone
        )
        raise EvaluationError(
            "Models are compared on the same cases.",
            received=told,
            cure="Evaluate them on the same references, or pass --only-common to leave the others "
            "out."
            if common
            else "Evaluate them on the same references.",
        )
    cases = tuple(case for case in one.cases if case in common)
    return {name: table.part(cases, one.labels) for name, table in tables.items()}


def _penalised(table: ScoreTable, metric: str, name: str) -> Numbers:
    """The scores with the diagonal for an infinite distance."""
    if metric not in (*OVERLAPS, *DISTANCES):
        raise EvaluationError(
            "What decides is an overlap or a distance.",
            received=metric,
            cure=f"Choose one of {', '.join((*OVERLAPS, *DISTANCES))} with --metric.",
        )
    numbers = table.numbers[metric]
    lost = np.isinf(numbers)
    penalty = np.broadcast_to(table.diagonals_mm[:, np.newaxis], numbers.shape)
    if np.isnan(penalty[lost]).any():
        raise EvaluationError(
            "A missed structure counts with the diagonal of its image.",
            received=f"no diagonal_mm in the scores of {name}",
            cure="Evaluate it again with this version.",
        )
    return np.asarray(np.where(lost, penalty, numbers))


def _scored_columns(numbers: Mapping[str, Numbers], metric: str) -> list[int]:
    """The structures for which some model has the score."""
    there = np.any([np.isfinite(one).any(axis=0) for one in numbers.values()], axis=0)
    if not there.any():
        raise EvaluationError(
            "The score that decides is there for some structure.",
            received=f"{metric}, of no structure",
            cure="Choose another one with --metric, or evaluate with --tubes for cldice.",
        )
    return [int(n) for n in np.flatnonzero(there)]


def _by_case(numbers: Numbers) -> Numbers:
    """Mean over each case's structures, shape (cases, 1); NaN where there is none."""
    valid = np.isfinite(numbers)
    counts = valid.sum(axis=1, keepdims=True)
    total = np.where(valid, numbers, 0.0).sum(axis=1, keepdims=True)
    return np.asarray(np.where(counts > 0, total / np.maximum(counts, 1), np.nan))


def _means(numbers: Numbers, labels: Sequence[str]) -> dict[str, Mean]:
    found = {label: mean_of(numbers[:, [n]]) for n, label in enumerate(labels)}
    return {**found, OVERALL: mean_of(numbers)}


def _lost(table: ScoreTable) -> dict[str, int]:
    lost = (table.status == "missed") | (table.status == "false_positive")
    counts = {label: int(lost[:, n].sum()) for n, label in enumerate(table.labels)}
    return {**counts, OVERALL: int(lost.sum())}
