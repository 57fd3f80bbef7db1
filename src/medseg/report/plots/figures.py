"""Matplotlib figures as SVG that takes the page's ink, so that they read on light and on dark."""

import io
import re
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#123456"
"""Stands for the page's own ink; no other colour of a figure may be this one."""

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "medseg",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "grid.color": INK,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "figure.facecolor": "none",
    "legend.frameon": False,
}

Drawn = ParamSpec("Drawn")


def as_svg(draw: Callable[Drawn, Figure], *args: Drawn.args, **kwargs: Drawn.kwargs) -> str:
    """Draw a figure in the house's style and give the SVG element, for use inside a page."""
    with mpl.rc_context(_STYLE):
        figure, buffer = draw(*args, **kwargs), io.StringIO()
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    head = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg[: svg.index(">") + 1])
    return head + svg[svg.index(">") + 1 :]


def name_points(svg: str, group: str, names: list[str]) -> str:
    """Let each point of a scatter say its name when the pointer rests on it.

    Args:
        svg: A figure.
        group: The `gid` of the scatter.
        names: One for each point, in order.
    """
    start = svg.find(f'id="{group}"')
    if start < 0:
        return svg
    stop = svg.index("</g>\n  </g>", start) if "</g>\n  </g>" in svg[start:] else len(svg)
    words = iter(names)

    def named(match: re.Match[str]) -> str:
        word = next(words, None)
        return match[0] if word is None else f"{match[1]}><title>{_escaped(word)}</title></use>"

    return svg[:start] + re.sub(r"(<use [^>]*?)/>", named, svg[start:stop]) + svg[stop:]


def quiet_axes(axes: Axes) -> None:
    """Leave only the lines that help to read numbers off along x."""
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")


def _escaped(word: str) -> str:
    return word.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
