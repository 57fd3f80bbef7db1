import pytest

from medseg.report.html import counted, duration, interval, shown, some


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (903, "15 min 3 s"),
        (3599.7, "1 h"),
        (4800, "1 h 20 min"),
    ],
)
def test_times_are_said_in_words(seconds, words):
    assert duration(seconds) == words


def test_what_is_not_there_is_a_dash_or_nothing():
    assert (shown(None, 2), shown(float("inf"), 2), shown(1.006, 2)) == ("–", "–", "1.01")
    assert (interval(None, 1.0, 2), interval(0.5, 1.0, 2)) == ("", "0.50 to 1.00")


def test_long_lists_are_shortened():
    assert counted(1, "case") == "1 case"
    assert some(["a", "b"]) == "2 cases (a, b)"
    assert some(list("abcdefg")) == "7 cases (a, b, c, d, e and 2 more)"
