"""Which attributes match a query."""

import time
from typing import Any

import pytest

from medseg.service.matching import matches

NAME = {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}


def attribute(vr: str, *values: Any) -> dict[str, Any]:
    return {"00100010": {"vr": vr, "Value": list(values)}}


@pytest.mark.parametrize(
    ("vr", "value", "wanted", "fits"),
    [
        ("LO", "Head [T1]", "Head [T1]", True),
        ("LO", "Head T", "Head [T1]", False),
        ("LO", "Head [T1]", "*[T?]", True),
        ("LO", "Head", "head", False),
        ("LO", "a.b", "a?b", True),
        ("LO", "axb", "a.b", False),
        ("LO", "Head\nT1", "Head*", True),
        ("PN", NAME, "yamada*", True),
        ("PN", NAME, "山田*", True),
        ("PN", NAME, "太郎", False),
        ("UI", "1.2", "1.1,1.2", True),
        ("UI", "1.2", "1.1\\1.2", True),
        ("UI", "1.22", "1.2", False),
        ("DA", "20260228", "20260228-20260301", True),
        ("DA", "20260228", "20260301-", False),
        ("DA", "20260228", "-20260228", True),
        ("TM", "103059.500", "-1030", True),
        ("TM", "103100", "-1030", False),
        ("TM", "1030", "103000-", True),
        ("TM", "1029", "103000-", False),
        ("IS", 7, "7", True),
        ("IS", 7, "8", False),
        ("IS", None, "7", False),
    ],
)
def test_rules(vr: str, value: Any, wanted: str, fits: bool) -> None:
    assert matches([attribute(vr, value)], {"00100010": wanted}) == fits


def test_everything_that_is_wanted_must_fit_somewhere() -> None:
    answer = [attribute("CS", "MR"), {"00080060": {"vr": "CS", "Value": ["SEG"]}}]
    assert matches(answer, {"00100010": "MR", "00080060": "SEG"})
    assert not matches(answer, {"00100010": "MR", "00080060": "CT"})
    assert not matches(answer, {"00181030": "T1"})
    assert matches(answer, {"00181030": "*", "00181000": ""})
    assert matches([], {})


def test_stars_cost_no_time() -> None:
    start = time.perf_counter()
    assert not matches([attribute("LO", "a" * 64)], {"00100010": "*a" * 40 + "b"})
    assert time.perf_counter() - start < 0.5
