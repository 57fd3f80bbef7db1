"""Whether attributes match a query: wildcards, ranges and lists of UIDs (PS3.4, C.2.2.2)."""

import fnmatch
import re
from collections.abc import Iterator, Sequence
from typing import Any

_RANGED = ("DA", "TM", "DT")


def matches(answer: Sequence[dict[str, Any]], wanted: dict[str, str]) -> bool:
    """Whether what is wanted of each attribute is found.

    Args:
        answer: Attributes in the DICOM JSON model: those of the answer, and of all instances that
            are behind it. A study matches a modality that one of its series has.
        wanted: Values by tag; "" and "*" fit everything.
    """
    return all(
        value in ("", "*") or any(_fits(one[tag], value) for one in answer if tag in one)
        for tag, value in wanted.items()
    )


def _fits(attribute: dict[str, Any], wanted: str) -> bool:
    values = [text for value in attribute.get("Value", []) for text in _texts(value)]
    kind = attribute.get("vr", "")
    if kind in _RANGED and "-" in wanted:
        low, _, high = wanted.partition("-")
        return any(_is_between(value, low, high) for value in values)
    if kind == "UI":
        return any(value in re.split(r"[,\\]", wanted) for value in values)
    pattern = re.compile(_pattern(wanted), re.IGNORECASE if kind == "PN" else 0)
    return any(pattern.match(value) for value in values)


def _is_between(value: str, low: str, high: str) -> bool:
    """Whether a date or time lies in a range; 1030 as its end means all of that minute."""
    return value.ljust(len(low), "0") >= low and (not high or value[: len(high)] <= high)


def _pattern(wanted: str) -> str:
    """A regular expression whose time does not grow with the number of stars; [ is a letter."""
    return fnmatch.translate(wanted.replace("[", "[[]"))


def _texts(value: Any) -> Iterator[str]:
    """A value as text; of a person's name each of its forms, letters and ideographs."""
    if isinstance(value, dict):
        yield from (str(form) for form in value.values())
    else:
        yield "" if value is None else str(value)
