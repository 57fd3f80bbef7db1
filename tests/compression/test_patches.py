"""Patches as networks see them, and data sets that are of another kind."""

import numpy as np
import pytest
from exports import CHANNEL, make_bundle, make_plan

from medseg.compression.patches import MADE_UP, TrialData, made_up_patches, real_patches
from medseg.dataset.description import Channel, read_case
from medseg.dataset.preprocess import preprocess
from medseg.errors import WrongInput
from medseg.volume.labels import Label


def test_patches_have_the_shape_and_the_values_that_networks_see(trial, learned_bundle):
    configuration = learned_bundle.configurations[0]
    found = real_patches(trial, configuration, 7)
    assert found.source == "Balls"
    assert [batch.shape for batch in found.batches] == [(1, 1, 16, 16, 8)] * 7
    assert all(batch.dtype == np.float32 and batch.flags.c_contiguous for batch in found.batches)
    case = trial.description.case(trial.training[0])
    whole = preprocess(read_case(trial.description, case), None, learned_bundle.plan).image
    assert np.isin(found.batches[0], whole).mean() > 0.99


def test_patches_repeat(trial, learned_bundle):
    one, other = (real_patches(trial, learned_bundle.configurations[0], 4) for _ in range(2))
    assert all(map(np.array_equal, one.batches, other.batches))


@pytest.mark.parametrize("dims", [2, 3])
def test_made_up_patches_are_normalised_and_smooth(dims):
    configuration = make_bundle(make_plan(dims)).configurations[0]
    found = made_up_patches(configuration, 3)
    assert found.source == MADE_UP
    assert {batch.ndim for batch in found.batches} == {dims + 2}
    values = np.stack(found.batches)
    assert abs(values.mean()) < 0.5
    assert 0.7 < values.std() < 1.5


def test_cases_that_trained_and_cases_that_judge_are_apart(trial):
    assert trial.training == ("ball_0", "ball_1", "ball_2")
    assert trial.judging == ("ball_3", "ball_4", "ball_5")
    assert trial.are_held_out


def test_of_another_data_set_a_third_judges(balls):
    other = TrialData(make_bundle(training=("elsewhere",)), balls)
    assert other.judging == ("ball_0", "ball_3")
    assert not set(other.judging) & set(other.training)
    assert other.are_held_out


def test_a_bundle_that_saw_every_case_is_judged_on_some_of_them_and_says_so(balls):
    every = TrialData(make_bundle(training=tuple(c.id for c in balls.cases)), balls)
    assert every.judging == ("ball_0", "ball_3")
    assert not every.are_held_out


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"channels": (Channel(name="CT", modality="CT"),)}, r"T1 \(MR\).*Balls with CT \(CT\)"),
        ({"channels": (Channel(name="T1", modality="PT"),)}, r"Balls with T1 \(PT\)"),
        ({"labels": (Label(value=1, name="core"), Label(value=3, name="shell"))}, "other labels"),
    ],
)
def test_another_kind_of_data_is_refused(learned_bundle, balls, changes, sentence):
    with pytest.raises(WrongInput, match=sentence):
        TrialData(learned_bundle, balls.model_copy(update=changes))


def test_another_number_of_channels_is_refused(learned_bundle, balls):
    two = balls.model_copy(update={"channels": (CHANNEL, Channel(name="T2", modality="MR"))})
    with pytest.raises(WrongInput, match=r"T1 \(MR\), T2 \(MR\)"):
        TrialData(learned_bundle, two)
