"""Lengths of time as people write them: 90s, 15m, 1h30m, 2d."""

import re

import typer

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_NUMBER = r"\d+(?:\.\d+)?"
_FORM = re.compile(rf"(?:{_NUMBER}[dhms])+")


def seconds_of(text: str) -> float:
    """Seconds of a length of time such as 90s, 15m or 1h30m.

    Raises:
        typer.BadParameter: If it is not written so, or is nothing.
    """
    word = text.strip().lower()
    parts = re.findall(rf"({_NUMBER})([dhms])", word) if _FORM.fullmatch(word) else []
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds <= 0:
        raise typer.BadParameter(f"a time is written like 90s, 15m or 1h30m, not {text!r}")
    return seconds
