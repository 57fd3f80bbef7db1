"""Cases against what is usual: the level of an alarm case by case, and numbers that moved."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medseg.report.plots.figures import INK, as_svg, name_points
from medseg.types import FloatArray

_USUAL, _NOW, _ALARM = "#8a8a8a", "#2a7ab8", "#d55e00"
_COLUMNS = 3
_BAND = (0.05, 0.95)


@dataclass(frozen=True, eq=False)
class Compared:
    """One number of all cases.

    Attributes:
        name: What it is.
        usual: Of the baseline, shape (N,).
        now: Of the cases in their order, shape (T,).
        since: Index of the case with which it moved; None where it did not.
    """

    name: str
    usual: FloatArray
    now: FloatArray
    since: int | None = None


def level_course(cases: Sequence[str], levels: FloatArray, window: int) -> str:
    """The level after each case, and that of an alarm, as SVG.

    Args:
        cases: Names.
        levels: Highest surprise as a share of its threshold, shape (T,).
        window: Cases that are judged together; a fine line lies between windows.
    """
    svg = as_svg(_draw_course, levels, window)
    words = [f"{case}: {value:.2f}" for case, value in zip(cases, levels, strict=True)]
    return name_points(svg, "cases", words)


def number_panels(numbers: Sequence[Compared], cases: Sequence[str]) -> str:
    """Each number of the cases over the band in which nine of ten usual cases lie, as SVG."""
    svg = as_svg(_draw_panels, numbers)
    for n, one in enumerate(numbers):
        words = [f"{case}: {value:.4g}" for case, value in zip(cases, one.now, strict=True)]
        svg = name_points(svg, f"cases-{n}", words)
    return svg


def embedding_map(usual: FloatArray, now: FloatArray, cases: Sequence[str]) -> str:
    """Cases where the encoder sees them, among the usual ones, as SVG.

    Args:
        usual: First two principal components of the baseline, shape (N, 2).
        now: Of the cases, shape (T, 2).
        cases: Their names.
    """
    return name_points(as_svg(_draw_map, usual, now), "cases", list(cases))


def _draw_course(levels: FloatArray, window: int) -> Figure:
    figure = Figure(figsize=(9.0, 2.9), layout="constrained")
    axes = figure.subplots()
    x = np.arange(1, len(levels) + 1)
    axes.axhline(1, color=_ALARM, linewidth=1.4)
    axes.plot(x, levels, color=_NOW, linewidth=1.0, alpha=0.6)
    colours = [_ALARM if value > 1 else _NOW for value in levels]
    axes.scatter(x, levels, c=colours, s=26, zorder=3, gid="cases")
    for end in range(window, len(levels), window):
        axes.axvline(end + 0.5, color=INK, alpha=0.15, linewidth=0.8)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("case")
    axes.set_ylabel("level (alarm above 1)")
    return figure


def _draw_panels(numbers: Sequence[Compared]) -> Figure:
    rows = -(-len(numbers) // _COLUMNS)
    figure = Figure(figsize=(9.0, 2.3 * rows), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for n, (axes, one) in enumerate(zip(panels, numbers, strict=False)):
        _draw_number(axes, one, n)
    for axes in panels[len(numbers) :]:
        axes.set_visible(False)
    return figure


def _draw_number(axes: Axes, one: Compared, n: int) -> None:
    low, high = np.quantile(one.usual, _BAND)
    axes.axhspan(low, high, color=_USUAL, alpha=0.2, linewidth=0)
    axes.axhline(float(np.median(one.usual)), color=_USUAL, linewidth=1.2)
    x = np.arange(1, len(one.now) + 1)
    moved = one.since is not None
    colours = [_ALARM if moved and i >= (one.since or 0) else _NOW for i in range(len(x))]
    axes.scatter(x, one.now, c=colours, s=16, zorder=3, gid=f"cases-{n}")
    axes.set_title(one.name, fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _draw_map(usual: FloatArray, now: FloatArray) -> Figure:
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.scatter(usual[:, 0], usual[:, 1], color=_USUAL, s=18, label="usual")
    axes.scatter(now[:, 0], now[:, 1], color=_NOW, s=26, gid="cases", label="now")
    axes.set_xlabel("first component")
    axes.set_ylabel("second component")
    axes.legend()
    return figure
