"""Statistics against known answers, and against other programs."""

import numpy as np
import pytest
from scipy import stats

from medseg.continual.drift_statistics import (
    CUSUM_DRIFT,
    SMALLEST_P,
    Reference,
    Sample,
    cusum,
    cusum_surprise,
    ks_surprise,
    normal_scores,
    since,
)


def sample(count, seed=0, shift=0.0, dice=np.nan):
    rng = np.random.default_rng(seed)
    image, mask = rng.normal(size=(count, 5)), rng.normal(size=(count, 3))
    return Sample(image + shift, mask, rng.normal(size=(count, 30)) + shift, np.full(count, dice))


def test_kolmogorov_smirnov_is_scipys_distance_in_stephens_words():
    rng = np.random.default_rng(0)
    reference, window = rng.normal(size=(40, 2)), rng.normal(0.7, 1, size=(8, 2))
    window[3, 0] = reference[5, 0]
    found = ks_surprise(reference, window)
    for t in range(2, 9):
        for column in range(2):
            distance = stats.ks_2samp(reference[:, column], window[:t, column]).statistic
            size = np.sqrt(40 * t / (40 + t))
            p = stats.kstwobign.sf((size + 0.12 + 0.11 / size) * distance)
            assert found[t - 1, column] == pytest.approx(-np.log10(p))


def test_one_case_is_no_sample_and_a_constant_that_stays_is_no_surprise():
    constant = np.ones((30, 1))
    assert ks_surprise(constant, constant[:5]).max() == pytest.approx(0, abs=1e-12)
    assert ks_surprise(constant, constant[:5] + 1)[0] == 0
    assert ks_surprise(constant, constant[:5] + 1)[-1] > 4


def test_cusum_by_hand():
    course = cusum(np.array([1.0, 3.0, np.nan, 0.5, 4.0]), drift=1.0)
    np.testing.assert_allclose(course, [0.0, 2.0, 2.0, 1.5, 4.5])


def test_cusum_of_ordinary_cases_stays_low_and_of_strange_ones_grows():
    rng = np.random.default_rng(0)
    ordinary = cusum_surprise(rng.uniform(size=(2000, 50)))
    assert np.quantile(ordinary.max(1), 0.5) < 4
    strange = cusum_surprise(np.full((4, 1), SMALLEST_P))
    step = (-np.log(SMALLEST_P) - CUSUM_DRIFT) * 0.714 / np.log(10)
    np.testing.assert_allclose(strange[:, 0], step * np.arange(1, 5))


def test_the_decay_of_the_cusum_solves_its_equation():
    from medseg.continual.drift_statistics import _CUSUM_RATE

    assert np.exp(-_CUSUM_RATE * CUSUM_DRIFT) == pytest.approx(1 - _CUSUM_RATE, abs=1e-3)


@pytest.mark.parametrize("start", [0, 3, 7])
def test_a_change_is_found_where_it_began(start):
    scores = np.random.default_rng(1).normal(0, 0.3, 12)
    scores[start:] -= 2.0
    assert since(scores) == start
    assert since(-scores, one_sided=True) == start


def test_scores_are_quantiles_of_the_reference():
    reference = np.arange(1.0, 100.0)[:, None]
    found = normal_scores(reference, np.array([[50.0], [0.0], [1000.0]]))
    assert found[0, 0] == pytest.approx(0)
    assert found[1, 0] == pytest.approx(-found[2, 0])
    assert found[2, 0] > 2


def test_a_shift_of_the_embedding_alone_is_seen_by_the_kernel():
    known = sample(50)
    moved = sample(10, seed=1)._replace(embedding=sample(10, seed=1, shift=1.5).embedding)
    usual, course = Reference(known).course(sample(10, seed=1)), Reference(known).course(moved)
    assert course.mmd[-1] > 6 > 2.5 > usual.mmd[-1]
    assert course.columns[:, :8] == pytest.approx(usual.columns[:, :8])


def test_surprise_of_the_kernel_is_about_a_probability():
    highest = [
        Reference(sample(50, seed=n)).course(sample(10, seed=1000 + n)).mmd[-1] for n in range(200)
    ]
    assert 0.02 < np.mean(np.array(highest) > 1) < 0.25


def test_p_of_cases_are_uniform_where_nothing_changed():
    p = np.concatenate(
        [Reference(sample(60, seed=n)).course(sample(10, seed=500 + n)).case_p[:, :3]
         for n in range(30)]
    )  # fmt: skip
    assert abs(np.mean(p < 0.1) - 0.1) < 0.04
    assert abs(np.mean(p < 0.5) - 0.5) < 0.08


def test_dice_counts_where_it_is_known():
    known = sample(40)._replace(dice=np.random.default_rng(0).normal(0.88, 0.02, 40))
    worse = sample(6, seed=1)._replace(dice=np.array([0.88, np.nan, 0.6, 0.6, np.nan, 0.6]))
    course = Reference(known).course(worse)
    assert np.isnan(course.case_p[1, 3])
    assert course.cusum[1, 3] == course.cusum[0, 3]
    assert course.cusum[-1, 3] > 4
    better = worse._replace(dice=np.full(6, 0.97))
    assert Reference(known).course(better).cusum.max(0)[3] == 0
    assert Reference(sample(40)).course(worse).cusum[:, 3].max() == 0


def test_prefixes_do_not_look_ahead():
    known, window = sample(40), sample(8, seed=2, shift=0.5)
    whole = Reference(known).course(window)
    part = Reference(known).course(window.take(slice(0, 5)))
    np.testing.assert_allclose(whole.all[:5], part.all)
