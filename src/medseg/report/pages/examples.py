"""Cases read again to be looked at: the lowest, the median and the best, and what was confused."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from medseg.errors import MedsegError
from medseg.progress import SILENT, Progress
from medseg.report.plots.confusion import BACKGROUND, Confusion, count_confusion
from medseg.report.plots.triptych import Triptych, draw_pair
from medseg.report.scores.masks import read_pair
from medseg.report.scores.score import CaseScores, Evaluation
from medseg.volume.labels import Labels

_MOST_READ = 12
_MOST_VOXELS = 60_000_000
"""Beyond these voxels no further case is read for the confusion alone."""


@dataclass(frozen=True)
class Example:
    """A case worth a look.

    Attributes:
        role: "lowest", "2nd lowest", "median", "best": its place by mean Dice.
        case: Its scores.
        drawing: Its picture; None where a mask cannot be read again.
        remark: Why there is no picture.
    """

    role: str
    case: CaseScores
    drawing: Triptych | None
    remark: str = ""


@dataclass(frozen=True)
class Looked:
    """What reading some cases again has shown.

    Attributes:
        examples: The lowest first, then median and best.
        confusion: Over `read` cases; None for a single structure.
        read: How many cases the confusion is of, evenly from the lowest to the best.
    """

    examples: tuple[Example, ...]
    confusion: Confusion | None
    read: int


def choose_cases(evaluation: Evaluation, lowest: int = 3) -> list[tuple[str, CaseScores]]:
    """Cases with a prediction by mean Dice: the lowest, the median and the best.

    Args:
        evaluation: What was scored.
        lowest: How many of the lowest.

    Returns:
        Role and case; no case twice, so that there are fewer of a small evaluation.
    """
    ranked = _ranked(evaluation)
    words = ("lowest", "2nd lowest", "3rd lowest", *(f"{n}th lowest" for n in range(4, lowest + 1)))
    chosen = dict(zip(words[:lowest], ranked, strict=False))
    if len(ranked) > lowest + 1:
        chosen["median"] = ranked[max((len(ranked) - 1) // 2, lowest)]
    if len(ranked) > lowest:
        chosen["best"] = ranked[-1]
    return list(chosen.items())


def look_again(evaluation: Evaluation, *, progress: Progress = SILENT) -> Looked:
    """Read some cases again, draw the examples and count what was confused.

    Args:
        evaluation: What was scored.
        progress: Told after each case.
    """
    roles = {case.pair.case: role for role, case in choose_cases(evaluation)}
    labels = evaluation.structures.labels
    several = len(labels) > 1
    order = [case for _, case in choose_cases(evaluation)]
    order += [case for case in _sample(evaluation) if several and case.pair.case not in roles]
    examples: list[Example] = []
    counts = np.zeros((len(labels) + 1, len(labels) + 1), np.int64)
    read = voxels = 0
    with progress.task("Looking at cases again", len(order)) as task:
        for case in order:
            role = roles.get(case.pair.case)
            if role is None and voxels > _MOST_VOXELS:
                break
            try:
                predicted, reference = read_pair(case.pair, evaluation.pairs.dataset, labels)
            except MedsegError as error:
                examples += [Example(role, case, None, f"No picture: {error}")] if role else []
                continue
            if several and predicted is not None:
                values = [label.value for label in labels]
                counts += count_confusion(predicted.array, reference.array, values)
                read, voxels = read + 1, voxels + reference.array.size
            if role:
                drawing = draw_pair(
                    case.pair, evaluation.pairs.dataset, (predicted, reference),
                    labels or reference.labels,
                )  # fmt: skip
                examples.append(Example(role, case, drawing))
            task.advance()
    names = (BACKGROUND, *(label.name for label in labels))
    return Looked(tuple(examples), Confusion(names, counts) if read else None, read)


def picture_labels(evaluation: Evaluation) -> Labels:
    """The structures that a picture shows: a region is seen as its parts."""
    return evaluation.structures.labels or evaluation.labels


def _ranked(evaluation: Evaluation) -> list[CaseScores]:
    predicted = [case for case in evaluation.cases if case.pair.predicted is not None]
    return sorted(predicted, key=lambda case: (case.mean_dice, case.pair.case))


def _sample(evaluation: Evaluation) -> Iterator[CaseScores]:
    """At most `_MOST_READ` cases, evenly from the lowest to the best."""
    ranked = _ranked(evaluation)
    places = np.linspace(0, len(ranked) - 1, min(_MOST_READ, len(ranked)))
    return (ranked[round(float(place))] for place in places)
