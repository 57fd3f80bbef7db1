"""Scores of each case by structure: points and box, one panel for each score."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from medseg.report.plots.figures import INK, as_svg, name_points, quiet_axes
from medseg.report.scores.score import Evaluation
from medseg.volume.labels import colour_of

_LOST = "#d55e00"
_JITTER = 0.2

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Strip:
    """Scores of one structure.

    Attributes:
        name: Of the structure.
        colour: Of its points.
        numbers: One for each case; inf where the structure was missed or invented.
        cases: Names of the cases.
    """

    name: str
    colour: str
    numbers: Numbers
    cases: tuple[str, ...]


def strips_of(evaluation: Evaluation, metric: str) -> list[Strip]:
    """Scores of all structures, cases with both masks empty left out."""
    strips = []
    for label in evaluation.labels:
        cases = [c for c in evaluation.cases if c.scores[label.value].status != "both_empty"]
        numbers = [getattr(case.scores[label.value], metric) for case in cases]
        names = tuple(case.pair.case for case in cases)
        colour = colour_of(evaluation.labels, label)
        strips.append(Strip(label.name, colour, np.array(numbers, float), names))
    return strips


def distributions(evaluation: Evaluation) -> str:
    """Each case's Dice, HD95 and surface Dice by structure: points and box, as SVG."""
    return strip_panels(
        {
            "Dice": strips_of(evaluation, "dice"),
            "HD95 (mm)": strips_of(evaluation, "hd95"),
            f"Surface Dice at {evaluation.tolerance_mm:g} mm": strips_of(evaluation, "nsd"),
        }
    )


def strip_panels(panels: Mapping[str, Sequence[Strip]]) -> str:
    """Scores by structure, one panel for each score, as SVG; each point says its case.

    Args:
        panels: Strips by title. A title that ends in "(mm)" stands for distances, others for
            shares from 0 to 1.
    """
    svg = as_svg(_draw_strips, panels)
    for p, strips in enumerate(panels.values()):
        for n, strip in enumerate(strips):
            found = np.isfinite(strip.numbers)
            for group, mask in (("points", found), ("lost", ~found)):
                named = zip(strip.cases, strip.numbers, mask, strict=True)
                words = [f"{case}: {_spoken(number)}" for case, number, keep in named if keep]
                svg = name_points(svg, f"{group}-{p}-{n}", words)
    return svg


def _spoken(number: float) -> str:
    return f"{number:.3g}" if math.isfinite(number) else "missed or invented"


def _draw_strips(panels: Mapping[str, Sequence[Strip]]) -> Figure:
    rows = max(len(strips) for strips in panels.values())
    figure = Figure(
        figsize=(11.0, 1.0 + rows * (0.74 if rows <= 12 else 0.42)),
        layout=ConstrainedLayoutEngine(wspace=0.05),
    )
    shape = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for p, (axes, (title, strips)) in enumerate(zip(shape, panels.items(), strict=True)):
        axes.set_title(title)
        quiet_axes(axes)
        numbers = np.concatenate([strip.numbers for strip in strips])
        lost_at = (
            _distance_axis(axes, numbers) if title.endswith("(mm)") else _share_axis(axes, numbers)
        )
        for n, strip in enumerate(strips):
            _draw_strip(axes, n, strip, lost_at, f"{p}-{n}")
        axes.set_yticks(range(len(strips)), [strip.name for strip in strips])
        axes.set_ylim(rows - 0.5, -0.5)
    return figure


def _share_axis(axes: Axes, numbers: Numbers) -> float:
    """From the whole tenth below the lowest share to 1; missed structures lie at 0 themselves."""
    low = max(math.floor(float(numbers.min(initial=0.9)) * 10 - 1e-9) / 10, 0.0)
    axes.set_xticks(MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, 1.0))
    axes.set_xlim(low - 0.02 * (1 - low), 1.0 + 0.02 * (1 - low))
    return 0.0


def _distance_axis(axes: Axes, numbers: Numbers) -> float:
    """From 0 mm on; infinite distances get a place of their own, which is returned."""
    finite = numbers[np.isfinite(numbers)]
    high = max(float(finite.max(initial=0.0)) * 1.06, 1.0)
    ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(0.0, high)
    axes.set_xticks([tick for tick in ticks if tick <= high])
    if finite.size == numbers.size:
        axes.set_xlim(-0.02 * high, high)
        return high
    axes.set_xlim(-0.02 * high, high * 1.18)
    axes.axvspan(high * 1.02, high * 1.18, color=INK, alpha=0.06, linewidth=0)
    axes.annotate(
        "lost", (high * 1.1, 1.0), xytext=(0, 4), xycoords=axes.get_xaxis_transform(),
        textcoords="offset points", color=_LOST, fontsize=9, ha="center",
    )  # fmt: skip
    return high * 1.1


def _draw_strip(axes: Axes, row: int, strip: Strip, lost_at: float, group: str) -> None:
    """Points above, their box below."""
    found = strip.numbers[np.isfinite(strip.numbers)]
    lost = strip.numbers.size - found.size
    axes.scatter(
        found, row - 0.1 + spread(found.size), s=_size(found.size), color=strip.colour,
        alpha=0.6 if found.size < 400 else 0.35, linewidths=0, gid=f"points-{group}",
        clip_on=False,
        rasterized=strip.numbers.size > 3000,
    )  # fmt: skip
    axes.scatter(
        np.full(lost, lost_at), row - 0.1 + spread(lost), s=30, color=_LOST, marker="x",
        linewidths=1.6, gid=f"lost-{group}",
    )  # fmt: skip
    if found.size >= 5:
        thin = {"color": INK, "linewidth": 1.0}
        axes.boxplot(
            [found], positions=[row + 0.27], widths=0.17, orientation="horizontal",
            showfliers=False, manage_ticks=False, boxprops=thin, whiskerprops=thin, capprops=thin,
            medianprops={"color": INK, "linewidth": 2.2},
        )  # fmt: skip


def _size(count: int) -> int:
    """Few points are drawn larger than many."""
    return 34 if count < 30 else 20 if count < 400 else 9


def spread(count: int) -> Numbers:
    """Where points lie across their row, -0.2 to 0.2, the same every time.

    Evenly spaced by the golden ratio, so that neighbours lie apart.
    """
    return np.asarray(((np.arange(count) * 0.6180339887) % 1.0 - 0.5) * 2 * _JITTER, np.float64)
