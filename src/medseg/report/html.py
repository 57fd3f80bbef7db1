"""What all pages share: the templates, large numbers, cases with pictures, numbers for people."""

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from medseg import __version__
from medseg.report.plots.triptych import ADDED_COLOUR, CONFUSED_COLOUR, MISSED_COLOUR, Triptych
from medseg.volume.labels import Labels, colour_of

COLOURS = {"missed": MISSED_COLOUR, "added": ADDED_COLOUR, "confused": CONFUSED_COLOUR}
"""Of the wrong voxels."""


@dataclass(frozen=True)
class Tile:
    """One large number at the top of a page."""

    name: str
    number: str
    unit: str = ""
    range: str = ""
    bad: bool = False


@dataclass(frozen=True)
class Cell:
    """One number of a table, with its interval in small print."""

    number: str
    range: str = ""
    bad: bool = False


@dataclass(frozen=True)
class ShownCase:
    """One case with its picture, or with the reason why there is none."""

    name: str
    scores: tuple[str, ...]
    drawing: Triptych | None
    remark: str = ""
    role: str = ""


def render(template: str, content: Mapping[str, Any]) -> str:
    """Fill a template of this room; text is escaped, figures (`Markup`) are taken as they are."""
    made = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    return _templates().get_template(template).render(version=__version__, made=made, **content)


def shown(number: float | None, digits: int) -> str:
    """A number for people; a dash where there is none."""
    return "\u2013" if number is None or not math.isfinite(number) else f"{number:.{digits}f}"


def interval(low: float | None, high: float | None, digits: int) -> str:
    """Both ends of an interval for people; "" where there is none."""
    return "" if low is None or high is None else f"{shown(low, digits)} to {shown(high, digits)}"


def duration(seconds: float) -> str:
    """A time for people: "42 s", "15 min 3 s", "1 h 20 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(whole / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def some(names: tuple[str, ...] | list[str], noun: str = "case") -> str:
    """How many there are, and the first of them: "7 cases (a, b, c, d, e and 2 more)"."""
    first = ", ".join(names[:5])
    rest = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{counted(len(names), noun)} ({first}{rest})"


def counted(number: int, noun: str) -> str:
    """A number and its noun: "1 case", "2 cases"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def key_of(labels: Labels) -> list[tuple[str, str]]:
    """Name and colour of each structure."""
    return [(label.name, colour_of(labels, label)) for label in labels]


@lru_cache(maxsize=1)
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("medseg.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
