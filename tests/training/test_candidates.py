"""Which candidate wins, and that an ensemble must earn its cost."""

import numpy as np
import pytest

from medseg.training.candidates import candidates_of, choose
from medseg.training.judged import Judgement


def judgements(values):
    return [Judgement(case=str(n), fold=0, dice={"core": v}) for n, v in enumerate(values)]


def decided(one, other, both):
    names = candidates_of(["2d", "3d_full"])
    scores = dict(zip(names, map(judgements, (one, other, both)), strict=True))
    return choose(scores, names)


BASE = np.linspace(0.6, 0.9, 20)
NOISE = np.random.default_rng(0).normal(scale=0.01, size=20)


def test_two_by_two():
    assert candidates_of(["a", "b", "c"]) == {
        "a": ("a",), "b": ("b",), "c": ("c",), "a+b": ("a", "b"), "a+c": ("a", "c"),
        "b+c": ("b", "c"),
    }  # fmt: skip
    assert candidates_of(["a"]) == {"a": ("a",)}


def test_the_best_single_one_wins_where_both_are_no_better():
    found = decided(BASE - 0.02, BASE, BASE + NOISE - NOISE.mean())
    assert found.winner == "3d_full"
    assert "no two together beat it beyond chance" in found.why
    assert found.candidates[0].chosen
    assert [one.name for one in found.candidates if one.chosen] == ["3d_full"]
    assert found.candidates[0].ci_low < found.candidates[0].dice < found.candidates[0].ci_high


def test_both_win_where_they_are_better_beyond_chance():
    found = decided(BASE, BASE - 0.01, BASE + 0.01 + NOISE / 10)
    assert found.winner == "2d+3d_full"
    assert "above 2d alone" in found.why
    assert found.candidates[0].gain == pytest.approx(0.01, abs=0.002)
    assert found.candidates[0].p_holm < 0.05


def test_a_higher_mean_alone_is_not_enough_for_both():
    found = decided(BASE, BASE - 0.01, BASE + np.where(np.arange(20) == 3, 0.1, 0.0))
    assert found.winner == "2d"


def test_only_cases_that_all_were_judged_on_count():
    names = candidates_of(["2d", "3d_full"])
    scores = {
        "2d": judgements([0.5, 0.5, 1.0]),
        "3d_full": judgements([0.6, 0.6]),
        "2d+3d_full": judgements([0.5, 0.6, 1.0]),
    }
    found = choose(scores, names)
    assert found.winner == "3d_full"
    assert {one.n for one in found.candidates} == {2}


def test_one_configuration_needs_no_contest():
    found = choose({"3d_full": judgements([0.5])}, candidates_of(["3d_full"]))
    assert (found.winner, found.why) == ("3d_full", "3d_full is the only configuration.")


def test_what_is_rightly_not_found_counts_one():
    empty = Judgement(case="a", fold=0, dice={"core": None, "shell": 0.5})
    assert empty.mean == 0.75
