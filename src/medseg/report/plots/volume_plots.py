"""Volumes against the reference: Dice by size, and agreement as Bland and Altman draw it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from medseg.report.plots.figures import INK, as_svg, name_points, quiet_axes
from medseg.report.scores.score import Evaluation
from medseg.volume.labels import PALETTE, colour_of

_MARKERS = "osD^vPX*"
_MOST_PANELS, _MOST_ROWS, _MOST_IN_LEGEND = 3, 24, 14
_FEWEST_FOR_LIMITS = 5
_NORMAL_95 = 1.96

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Agreement:
    """Predicted and true volumes of one structure, over the cases where either mask holds it.

    Attributes:
        name: Of the structure.
        colour: Of its points.
        cases: Names of the cases.
        reference_ml: Volume in each reference.
        predicted_ml: Volume in each prediction.
    """

    name: str
    colour: str
    cases: tuple[str, ...]
    reference_ml: Numbers
    predicted_ml: Numbers

    @property
    def mean_ml(self) -> Numbers:
        """Mean of both volumes of each case."""
        return (self.reference_ml + self.predicted_ml) / 2

    @property
    def difference_ml(self) -> Numbers:
        """Predicted minus reference volume of each case."""
        return self.predicted_ml - self.reference_ml

    @property
    def difference_percent(self) -> Numbers:
        """The difference in percent of the mean of both: 200 where a structure was invented."""
        return 100 * self.difference_ml / self.mean_ml


@dataclass(frozen=True)
class Limits:
    """Bias of a measurement, and where 95 % of its differences are expected.

    Attributes:
        bias: Mean difference.
        low: Bias less 1.96 standard deviations; None where there are fewer than five cases.
        high: Bias and 1.96 standard deviations.
    """

    bias: float
    low: float | None
    high: float | None


def limits_of_agreement(differences: Numbers) -> Limits:
    """Bias and limits of agreement of paired differences.

    Args:
        differences: One for each case, at least one.

    Source:
        Bland and Altman, Statistical methods for assessing agreement between two methods of
        clinical measurement, Lancet 327(8476), 1986.
    """
    bias = float(differences.mean())
    if differences.size < _FEWEST_FOR_LIMITS:
        return Limits(bias, None, None)
    spread = _NORMAL_95 * float(differences.std(ddof=1))
    return Limits(bias, bias - spread, bias + spread)


def agreements_of(evaluation: Evaluation) -> list[Agreement]:
    """Volumes of all structures that some mask holds."""
    found = []
    for label in evaluation.labels:
        held = [c for c in evaluation.cases if c.scores[label.value].status != "both_empty"]
        scores = [case.scores[label.value] for case in held]
        volumes = [(one.reference_ml, one.predicted_ml) for one in scores]
        kept = [n for n, both in enumerate(volumes) if sum(both) > 0]
        if kept:
            reference, predicted = np.array([volumes[n] for n in kept], np.float64).T
            names = tuple(held[n].pair.case for n in kept)
            colour = colour_of(evaluation.labels, label)
            found.append(Agreement(label.name, colour, names, reference, predicted))
    return found


def bland_altman(evaluation: Evaluation) -> str:
    """Predicted minus reference volume against the mean of both, as SVG.

    Up to three structures have a panel each, in ml, with the bias and the limits within which 95 %
    of the differences are expected. Of more structures each is a row, in percent; of more than 24
    those with the largest differences.
    """
    found = agreements_of(evaluation)
    in_rows = len(found) > _MOST_PANELS
    if len(found) > _MOST_ROWS:
        widest = sorted(found, key=lambda one: -float(np.abs(one.difference_percent).max()))
        found = [one for one in found if one in widest[:_MOST_ROWS]]
    svg = as_svg(_draw_rows, found) if in_rows else as_svg(_draw_panels, found)
    for n, one in enumerate(found):
        shown = zip(one.cases, one.reference_ml, one.predicted_ml, strict=True)
        words = [f"{case}: {new:.3g} ml, reference {old:.3g} ml" for case, old, new in shown]
        svg = name_points(svg, f"agreement-{n}", words)
    return svg


def _draw_panels(found: Sequence[Agreement]) -> Figure:
    figure = Figure(figsize=(11.0, 3.6), layout="constrained")
    shape = figure.subplots(1, max(len(found), 1), squeeze=False)[0]
    for n, (axes, one) in enumerate(zip(shape, found, strict=False)):
        differences = one.difference_ml
        axes.scatter(
            one.mean_ml, differences, s=26, color=one.colour, alpha=0.65, linewidths=0,
            gid=f"agreement-{n}",
        )  # fmt: skip
        limits = limits_of_agreement(differences)
        axes.axhline(0.0, color=INK, linewidth=0.8)
        _line(axes, limits.bias, "bias", "-")
        for place, word in ((limits.high, "+1.96 SD"), (limits.low, "-1.96 SD")):
            if place is not None:
                _line(axes, place, word.replace("-", "\u2212"), "--")
        reach = 1.15 * max(abs(differences).max(), abs(limits.low or 0), abs(limits.high or 0))
        axes.set_ylim(-max(reach, 1e-6), max(reach, 1e-6))
        axes.set_title(one.name)
        axes.set_xlabel("Mean of both volumes (ml)")
        axes.margins(x=0.08)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        if n == 0:
            axes.set_ylabel("Predicted \u2212 reference (ml)")
    return figure


def _line(axes: Axes, place: float, word: str, style: str) -> None:
    axes.axhline(place, color=INK, linewidth=1.4, linestyle=style, alpha=0.75)
    axes.annotate(
        f"{word} {place:+.2g}".replace(" -", " \u2212"), (1.0, place),
        xycoords=axes.get_yaxis_transform(), xytext=(-2, 2 if place >= 0 else -2),
        textcoords="offset points", fontsize=9, ha="right", va="bottom" if place >= 0 else "top",
    )  # fmt: skip


def _draw_rows(found: Sequence[Agreement]) -> Figure:
    figure = Figure(figsize=(11.0, 1.0 + 0.36 * len(found)), layout="constrained")
    axes = figure.subplots()
    quiet_axes(axes)
    axes.axvline(0.0, color=INK, linewidth=0.8)
    for row, one in enumerate(found):
        differences = one.difference_percent
        limits = limits_of_agreement(differences)
        if limits.low is not None and limits.high is not None:
            axes.plot([limits.low, limits.high], [row, row], color=INK, linewidth=1.2, alpha=0.75)
        axes.plot([limits.bias] * 2, [row - 0.28, row + 0.28], color=INK, linewidth=2.2)
        axes.scatter(
            differences, np.full(differences.size, row), s=24, color=one.colour, alpha=0.6,
            linewidths=0, gid=f"agreement-{row}",
        )  # fmt: skip
    axes.set_yticks(range(len(found)), [one.name for one in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlabel("Predicted \u2212 reference volume (% of the mean of both)")
    return figure


def dice_against_volume(evaluation: Evaluation) -> str:
    """Dice of each case against the structure's volume in the reference, as SVG."""
    svg = as_svg(_draw_volumes, evaluation)
    for n, label in enumerate(evaluation.labels):
        words = [
            f"{case.pair.case}, {label.name}: {scores.reference_ml:.3g} ml, Dice {scores.dice:.3f}"
            for case in evaluation.cases
            if (scores := case.scores[label.value]).reference_ml > 0
        ]
        svg = name_points(svg, f"volume-{n}", words)
    return svg


def _draw_volumes(evaluation: Evaluation) -> Figure:
    figure = Figure(figsize=(11.0, 3.9), layout="constrained")
    axes = figure.subplots()
    largest, smallest, lowest = 0.0, math.inf, 0.9
    for n, label in enumerate(evaluation.labels):
        every = [case.scores[label.value] for case in evaluation.cases]
        scores = [one for one in every if one.reference_ml > 0]
        if not scores:
            continue
        volumes, dices = [x.reference_ml for x in scores], [x.dice for x in scores]
        largest, smallest = max(largest, *volumes), min(smallest, *volumes)
        lowest = min(lowest, *dices)
        axes.scatter(
            volumes, dices, s=26, color=colour_of(evaluation.labels, label), alpha=0.65,
            linewidths=0, marker=_MARKERS[n // len(PALETTE) % len(_MARKERS)], label=label.name,
            clip_on=False, gid=f"volume-{n}",
        )  # fmt: skip
    if largest > 20 * smallest:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda ml, _: f"{ml:g}"))
    axes.set_ylim(max(math.floor(lowest * 10 - 1e-9) / 10, 0.0) - 0.02, 1.02)
    axes.set_xlabel("Volume in the reference (ml)")
    axes.set_ylabel("Dice")
    if len(evaluation.labels) <= _MOST_IN_LEGEND:
        figure.legend(loc="outside right upper", handletextpad=0.2, labelspacing=0.7)
    return figure
