"""Training curves: loss, Dice, learning rate and the seconds of a step, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from medseg.report.plots.figures import as_svg

Numbers = npt.NDArray[np.float64]

_ROW_INCHES, _MOST_IN_A_ROW = 3.1, 3


@dataclass(frozen=True)
class Curve:
    """One line of a training plot.

    Attributes:
        name: What it is; "" leaves it out of the legend.
        x: Minutes or steps.
        y: Values, NaN where there is none.
        colour: Of the line.
        dots: Whether each value is marked, for rare ones.
    """

    name: str
    x: Numbers
    y: Numbers
    colour: str
    dots: bool = False


def curves(panels: Mapping[str, Sequence[Curve]], x_label: str) -> str:
    """Training curves, one panel for each title, as SVG.

    A panel called "Dice" reaches from 0 to 1, all others from 0 to their largest value.
    """
    return as_svg(_draw_curves, panels, x_label)


def _draw_curves(panels: Mapping[str, Sequence[Curve]], x_label: str) -> Figure:
    columns = len(panels) if len(panels) <= _MOST_IN_A_ROW else 2
    rows = -(-len(panels) // columns)
    figure = Figure(
        figsize=(11.0, _ROW_INCHES * rows), layout=ConstrainedLayoutEngine(hspace=0.08, wspace=0.04)
    )
    shape = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in shape[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, lines) in zip(shape, panels.items(), strict=False):
        _draw_panel(axes, title, lines)
    for axes in shape[max(0, len(panels) - columns) : len(panels)]:
        axes.set_xlabel(x_label)
    return figure


def _draw_panel(axes: Axes, title: str, lines: Sequence[Curve]) -> None:
    for curve in lines:
        known = np.isfinite(curve.y)
        axes.plot(
            curve.x[known], curve.y[known], color=curve.colour, linewidth=1.8,
            linestyle="--" if curve.dots else "-", marker="o" if curve.dots else None,
            markersize=5, label=curve.name or None,
        )  # fmt: skip
    axes.set_title(title)
    axes.margins(x=0.02)
    if title == "Dice":
        axes.set_ylim(0.0, 1.0)
    elif all(np.nanmin(curve.y, initial=0.0) >= 0 for curve in lines):
        axes.set_ylim(bottom=0.0)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    if any(curve.name for curve in lines):
        axes.legend(loc="best", fontsize=9.5)
