"""Models judged on the same cases."""

from types import SimpleNamespace

import pytest
from exports import make_bundle

from medseg.compression.standings import Standing, case_dice, difference, model_patch_ms, standings
from medseg.inference.predict import Predictor


def standing(name, *dice):
    mean = sum(dice) / len(dice)
    return Standing(
        name=name, dice=mean, case_dice=dice, patch_ms=1.0, parameters=1, engine="torch fp32"
    )


def test_a_difference_is_of_pairs_and_changes_sign():
    one, other = standing("a", 0.9, 0.7, 0.8), standing("b", 0.8, 0.6, 0.7)
    found, back = difference(one, other), difference(other, one)
    assert found.mean == pytest.approx(0.1) == -back.mean
    assert (found.verdict, back.verdict) == ("better", "worse")
    assert found.against == "b"
    assert difference(one, one).verdict == "no difference beyond chance"
    assert difference(standing("a", 0.9), standing("b", 0.1)).ci_low is None


def test_structures_that_nobody_saw_do_not_count():
    scores = [
        SimpleNamespace(dice=0.5, status="ok"),
        SimpleNamespace(dice=1.0, status="both_empty"),
    ]
    assert case_dice(scores) == 0.5
    assert case_dice(scores[1:]) == 1.0


def test_models_stand_side_by_side(balls):
    one, two = make_bundle(), make_bundle(members=2)
    models = {"one": Predictor(one, engine="torch"), "two": Predictor(two, engine="torch")}
    first, second = standings(models, balls, ["ball_3", "ball_4"])
    assert second.parameters == 2 * first.parameters
    assert first.dice == pytest.approx(sum(first.case_dice) / 2)
    assert first.dice > 0.3
    (alone,) = standings({"one": models["one"]}, balls, ["ball_3", "ball_4"])
    assert alone.case_dice == first.case_dice
    assert model_patch_ms(models["one"]) > 0
