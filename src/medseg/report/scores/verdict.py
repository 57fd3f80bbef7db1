"""What a comparison found, in plain sentences: who wins, or that the data cannot tell."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from medseg.report.scores.summary import DISTANCES

_NAMES = {
    "dice": "Dice", "iou": "IoU", "hd": "HD", "hd95": "HD95", "assd": "ASSD", "nsd": "surface Dice",
    "hd95_pooled": "pooled HD95", "assd_averaged": "averaged ASSD", "rmsd": "RMS distance",
    "boundary_iou": "boundary IoU", "cldice": "clDice",
}  # fmt: skip

_FEWEST = 6
"""Below six cases no two-sided signed-rank test can fall below 0.05: the least p is 2 / 2^n."""


@dataclass(frozen=True)
class PairedDifference:
    """Two models on one structure, case by case.

    Attributes:
        label: Name of the structure, or "mean" for all.
        first: Name of one model.
        second: Name of the other.
        n: Number of cases that both have a score for.
        first_mean: Mean score of the first over these cases.
        second_mean: The same of the second.
        difference: Mean of first minus second; NaN without a case.
        ci_low: Lower end of its 95 % bootstrap interval; None below two cases.
        ci_high: Its upper end.
        p: Of Wilcoxon's signed-rank test, two-sided, not corrected.
        p_holm: Corrected for the number of tests.
        winner: Name of the better one, or None where the data cannot tell.
        sentence: The same in words.
    """

    label: str
    first: str
    second: str
    n: int
    first_mean: float
    second_mean: float
    difference: float
    ci_low: float | None
    ci_high: float | None
    p: float
    p_holm: float
    winner: str | None
    sentence: str


def sentence_of(found: PairedDifference, metric: str) -> PairedDifference:
    """The same difference with its sentence."""
    where = "over all structures" if found.label == "mean" else f"on {found.label}"
    if found.n == 0:
        text = f"{found.first} and {found.second} have no case in common {where}."
        return replace(found, sentence=text)
    numbers = _numbers(found, metric)
    if found.winner is None:
        text = f"{found.first} and {found.second} cannot be told apart {where}: {numbers}."
        if found.n < _FEWEST:
            cases = "1 case is" if found.n == 1 else f"{found.n} cases are"
            text = f"{text[:-1]}; {cases} too few for any test."
    else:
        loser = found.second if found.winner == found.first else found.first
        text = f"{found.winner} is better than {loser} {where}: {numbers}."
    return replace(found, sentence=text)


def headline_of(
    names: Sequence[str],
    labels: Sequence[str],
    differences: Sequence[PairedDifference],
    metric: str,
    cases: int,
) -> str:
    """Who wins over all structures and on which, in a sentence or two.

    Args:
        names: Names of the models.
        labels: Names of the structures.
        differences: Of all pairs, on all structures and over all.
        metric: The score that decided.
        cases: Number of cases.
    """
    overall = [one for one in differences if one.label == "mean"]
    wins = {name: [one for one in overall if one.winner == name] for name in names}
    champion = next((name for name in names if len(wins[name]) == len(names) - 1), None)
    by = f"by {_NAMES.get(metric, metric)} on {_count(cases, 'case')}"
    if champion:
        rest = [name for name in names if name != champion]
        text = f"{champion} is better than {_listed(rest)} {by}."
    elif any(wins.values()):
        won = [f"{one.winner} is better than {_other(one)}" for one in overall if one.winner]
        open_ = [f"{one.first} and {one.second}" for one in overall if not one.winner]
        text = f"{'; '.join(won)} {by}."
        if open_:
            text += f" The data cannot tell {'; nor '.join(open_)} apart."
    elif len(names) == 2:
        text = f"The data cannot tell {_listed(names)} apart {by}."
    else:
        text = f"The data cannot tell any two of {_listed(names)} apart {by}."
    if len(names) == 2 and len(labels) > 1:
        text += f" {_by_label(names, labels, differences)}"
    return text


def _by_label(
    names: Sequence[str], labels: Sequence[str], differences: Sequence[PairedDifference]
) -> str:
    """On which structures each of two models wins, and on which nobody does."""
    winner = {one.label: one.winner for one in differences if one.label != "mean"}
    parts = []
    for name in names:
        won = [label for label in labels if winner[label] == name]
        if won:
            parts.append(f"{name} wins on {_some(won)}")
    open_ = [label for label in labels if winner[label] is None]
    if open_:
        parts.append(f"nobody on {_some(open_)}")
    text = "; ".join(parts)
    return f"By structure: {text}."


def _other(one: PairedDifference) -> str:
    return one.second if one.winner == one.first else one.first


def _numbers(found: PairedDifference, metric: str) -> str:
    """Both means, the difference with its interval, p and the number of cases; a winner's first.

    A difference has a digit more than the means: it is small where models are close.
    """
    distance = metric in DISTANCES
    digits, unit = (2, " mm") if distance else (3, "")
    means, sign = (found.first_mean, found.second_mean), 1
    if found.winner == found.second:
        means, sign = means[::-1], -1
    text = (
        f"{_NAMES.get(metric, metric)} {means[0]:.{digits}f} against "
        f"{means[1]:.{digits}f}{unit}, difference {sign * found.difference:+.{digits + 1}f}"
    )
    if found.ci_low is not None and found.ci_high is not None:
        low, high = sorted((sign * found.ci_low, sign * found.ci_high))
        text += f" (95 %: {low:+.{digits + 1}f} to {high:+.{digits + 1}f})"
    p = "p < 0.001" if found.p_holm < 0.001 else f"p = {found.p_holm:.3f}"
    return f"{text}, {p}, {_count(found.n, 'case')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _some(names: Sequence[str]) -> str:
    return (
        _listed(names) if len(names) <= 6 else f"{', '.join(names[:6])} and {len(names) - 6} more"
    )
