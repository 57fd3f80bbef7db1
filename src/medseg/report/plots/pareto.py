"""Models by what they cost and what they are worth: Dice against the time of a patch."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from medseg.report.plots.figures import as_svg

_FRONT, _OTHER = "#2a7ab8", "#8a8a8a"


class Priced(NamedTuple):
    """One model.

    Attributes:
        name: What it is.
        ms: Time of a patch in milliseconds.
        dice: Mean Dice.
    """

    name: str
    ms: float
    dice: float


def front(models: Sequence[Priced]) -> tuple[Priced, ...]:
    """Those that no other model beats in both Dice and time; the fastest first."""
    kept: list[Priced] = []
    for one in sorted(models, key=lambda model: (model.ms, -model.dice)):
        if not kept or one.dice > kept[-1].dice:
            kept.append(one)
    return tuple(kept)


def pareto(models: Sequence[Priced]) -> str:
    """Dice against milliseconds (logarithmic), the front joined by a line, as SVG."""
    return as_svg(_draw, models)


def _draw(models: Sequence[Priced]) -> Figure:
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes, best = figure.subplots(), front(models)
    axes.step([x.ms for x in best], [x.dice for x in best], where="post", color=_FRONT, lw=1.4)
    for one in models:
        axes.plot(one.ms, one.dice, "o", color=_FRONT if one in best else _OTHER, markersize=7)
        axes.annotate(
            one.name, (one.ms, one.dice), xytext=(6, 6), textcoords="offset points", fontsize=10
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.25, y=0.25)
    axes.set_xlabel("milliseconds a patch")
    axes.set_ylabel("Dice")
    return figure
