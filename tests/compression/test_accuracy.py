"""Two predictors on the same cases."""

import numpy as np
import pytest
import torch
from exports import make_bundle

from medseg.compression.accuracy import compared, require_small_loss
from medseg.compression.patches import TrialData
from medseg.errors import EngineDiffers
from medseg.inference.exported import Accuracy, Compared
from medseg.inference.predict import Predictor


@pytest.fixture(scope="module")
def exact(learned_bundle):
    return Predictor(learned_bundle, engine="torch", precision="fp32")


@pytest.fixture(scope="module")
def blind():
    bundle = make_bundle()
    bundle.members[0]["heads.0.bias"] += torch.tensor([90.0, 0.0, 0.0])
    return Predictor(bundle, precision="fp32")


def test_the_same_has_no_change(trial, exact):
    found = compared(trial, exact, exact)
    assert found.dice.torch == found.dice.engine > 0.5
    assert (found.dice.change, found.dice.ci_low, found.dice.ci_high) == (0, 0, 0)
    assert found.hd95_mm.torch == found.hd95_mm.engine
    assert found.cases == trial.judging


def test_who_sees_nothing_loses_all_dice_and_has_no_distance(trial, exact, blind):
    found = compared(trial, exact, blind, cases=2)
    assert found.dice.engine == 0
    assert found.dice.change == pytest.approx(-found.dice.torch)
    assert found.hd95_mm is None
    assert len(found.cases) == 2
    with pytest.raises(EngineDiffers, match=r"no more than 0\.005.*blind: 0\.0000 for 0\."):
        require_small_loss(found, 0.005, name="blind")


BOUNDS = [(-0.004, 0.005, True), (-0.006, 0.005, False), (0.1, 0.0, True)]


@pytest.mark.parametrize(("change", "most", "passes"), BOUNDS)
def test_the_bound_is_on_the_mean(change, most, passes):
    dice = Compared(torch=0.9, engine=0.9 + change, change=change)
    found = Accuracy(cases=("a",), data="some", are_held_out=True, dice=dice)
    if passes:
        require_small_loss(found, most, name="engine")
    else:
        with pytest.raises(EngineDiffers, match=r"engine: 0\.8940 for 0\.9000"):
            require_small_loss(found, most, name="engine")


def test_without_labelled_cases_nothing_is_judged(trial, exact, learned_bundle, balls):
    unlabelled = balls.model_copy(update={"cases": (), "unlabelled": balls.cases})
    assert compared(TrialData(learned_bundle, unlabelled), exact, exact) is None
    assert np.isfinite(exact.bundle.temperature)
