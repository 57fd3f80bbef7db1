"""Thresholds that keep their rate, and files that come back as they were."""

import json

import numpy as np
import pytest
from watching import made_up, small_bundle

from medseg.continual.drift import judge
from medseg.continual.drift_baseline import (
    ARRAYS_NAME,
    FILE_NAME,
    load_baseline,
    make_baseline,
    save_baseline,
)
from medseg.errors import DriftError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return small_bundle(tmp_path_factory.mktemp("b") / "bundle", learned=("case_0", "other"))


@pytest.fixture(scope="module")
def baseline(bundle):
    return make_baseline(made_up(40), bundle, resamples=300, false_alarm_rate=0.05)


def test_the_rate_is_kept_on_new_cases(bundle):
    """Over baselines drawn anew, windows of unchanged cases alarm about as often as was stated."""
    alarms = []
    for n in range(60):
        one = make_baseline(
            made_up(30, seed=n), bundle, window=5, resamples=100, false_alarm_rate=0.1
        )
        alarms.append(judge(made_up(5, seed=1000 + n), one).alarm)
    assert np.mean(alarms) <= 0.2


def test_the_same_seed_gives_the_same_threshold(bundle, baseline):
    again = make_baseline(made_up(40), bundle, resamples=300, false_alarm_rate=0.05)
    assert again.about.thresholds == baseline.about.thresholds
    other = make_baseline(made_up(40), bundle, resamples=300, false_alarm_rate=0.05, seed=1)
    assert other.about.thresholds != baseline.about.thresholds
    for kind, threshold in other.about.thresholds.items():
        assert threshold == pytest.approx(baseline.about.thresholds[kind], rel=0.5)


def test_a_lower_rate_needs_a_higher_surprise(bundle, baseline):
    strict = make_baseline(made_up(40), bundle, resamples=300, false_alarm_rate=0.02)
    for kind, threshold in strict.about.thresholds.items():
        assert threshold > baseline.about.thresholds[kind]


def test_it_knows_which_cases_were_learned_from(baseline):
    assert baseline.about.learned_from == 1
    assert len(baseline.about.cases) == 40


def test_it_comes_back_equal(tmp_path, baseline, bundle):
    save_baseline(baseline, tmp_path)
    again = load_baseline(tmp_path, bundle)
    assert again.about == baseline.about
    for one, other in zip(again.sample, baseline.sample, strict=True):
        np.testing.assert_array_equal(one, other)


def test_too_few_cases_are_refused(bundle):
    with pytest.raises(DriftError, match=r"at least 20 usual cases\. Received: 19"):
        make_baseline(made_up(19), bundle)
    with pytest.raises(DriftError, match="windows of 15 cases has at least 30"):
        make_baseline(made_up(25), bundle, window=15)
    with pytest.raises(DriftError, match="five or more of the windows drawn"):
        make_baseline(made_up(20), bundle, resamples=100)


def test_no_baseline_and_one_of_other_weights_are_told_apart(tmp_path, baseline, bundle):
    with pytest.raises(DriftError, match="medseg drift baseline"):
        load_baseline(tmp_path, bundle)
    save_baseline(baseline, tmp_path)
    other = small_bundle(tmp_path / "other", members=1)
    with pytest.raises(DriftError, match="belongs to the weights"):
        load_baseline(tmp_path, other)


@pytest.mark.parametrize("harm", ["cut", "json", "gone", "field"])
def test_a_damaged_baseline_is_one_sentence(tmp_path, baseline, bundle, harm):
    save_baseline(baseline, tmp_path)
    about, arrays = tmp_path / FILE_NAME, tmp_path / ARRAYS_NAME
    if harm == "cut":
        arrays.write_bytes(arrays.read_bytes()[:100])
    elif harm == "json":
        about.write_text("{")
    elif harm == "gone":
        arrays.unlink()
    else:
        content = json.loads(about.read_text())
        about.write_text(json.dumps({**content, "cases": content["cases"][1:]}))
    with pytest.raises(DriftError, match="read as it was written"):
        load_baseline(tmp_path, bundle)


def test_cases_of_other_numbers_are_refused(baseline):
    (one,) = made_up(1)
    del one.values["image.a3"]
    with pytest.raises(DriftError, match=r"case_0 without image\.a3"):
        baseline.sample_of([one])
