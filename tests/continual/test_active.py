"""Which cases come first, by each strategy."""

from typing import get_args

import numpy as np
import pytest
from watching import made_up, small_bundle, write_cases

from medseg.continual.active import Strategy, k_centres, rank, select, spread_draw
from medseg.errors import DriftError

STRATEGIES = get_args(Strategy)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_case_once_and_the_same_by_the_same_seed(strategy):
    pool = made_up(15)
    found = rank(pool, 6, strategy=strategy, seed=4)
    assert len({one.case for one in found}) == 6
    assert [one.rank for one in found] == [1, 2, 3, 4, 5, 6]
    assert rank(pool, 6, strategy=strategy, seed=4) == found
    everything = rank(pool, 99, strategy=strategy)
    assert {one.case for one in everything} == {one.case for one in pool}


@pytest.mark.parametrize(
    ("strategy", "name"),
    [("entropy", "mask.entropy"), ("bald", "mask.information"),
     ("mirror", "mask.mirror_information")],
)  # fmt: skip
def test_the_most_doubtful_come_first(strategy, name):
    pool = made_up(12)
    found = rank(pool, 12, strategy=strategy)
    doubt = {one.case: one.values[name] for one in pool}
    assert [one.score for one in found] == sorted(doubt.values(), reverse=True)
    assert all(one.score == doubt[one.case] for one in found)


@pytest.mark.parametrize("strategy", ["random", "diverse"])
def test_cases_without_anything_come_last(strategy):
    pool = made_up(10)
    for one in pool[:6]:
        one.values["mask.volume_ml.core"] = 0.0
    first = {one.case for one in rank(pool, 4, strategy=strategy)}
    assert first == {one.case for one in pool[6:]}


def test_random_is_random_and_depends_on_nothing_but_the_seed():
    pool = made_up(30)
    counts = np.zeros(30)
    for seed in range(200):
        for one in rank(pool, 6, strategy="random", seed=seed):
            counts[int(one.case.split("_")[1])] += 1
    assert counts.min() > 15
    assert counts.max() < 75


def test_k_centres_on_a_line():
    points = np.array([[0.0], [1.0], [4.0], [10.0]])
    assert k_centres(points, 3, np.array([[0.0]])) == ([3, 2, 1], [10.0, 4.0, 1.0])
    order, apart = k_centres(points, 2, np.zeros((0, 1)))
    assert (order, apart) == ([2, 3], [None, 6.0])


def test_k_centres_of_equal_points_still_gives_each_once():
    order, _ = k_centres(np.zeros((4, 2)), 4, np.zeros((0, 2)))
    assert sorted(order) == [0, 1, 2, 3]


def test_spread_draws_prefer_what_is_far_away():
    points = np.concatenate([np.zeros((20, 1)), [[100.0]]]) + np.arange(21)[:, None] * 1e-3
    everyone = np.ones(21, bool)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        order, _ = spread_draw(points, 2, np.zeros((0, 1)), everyone, rng)
        assert 20 in order
    assert 20 not in [
        spread_draw(points, 1, points[20:], everyone, np.random.default_rng(n))[0][0]
        for n in range(20)
    ]


def test_mixed_stays_among_the_doubtful():
    pool = made_up(40)
    doubtful = {one.case for one in rank(pool, 12, strategy="entropy")}
    assert {one.case for one in rank(pool, 3, strategy="mixed")} <= doubtful


def test_labelled_cases_are_kept_away_from():
    pool = made_up(10)
    far = rank(pool, 1, strategy="coreset", labelled=pool[:9])[0].case
    assert far == pool[9].case


def test_files_are_looked_at_once(tmp_path):
    bundle = small_bundle(tmp_path / "bundle")
    cases = write_cases(tmp_path, 5)
    (tmp_path / "broken.nii.gz").write_bytes(b"nothing")
    broken = type(cases[0])("broken", (tmp_path / "broken.nii.gz",))
    found = select(bundle, [*cases, broken], 2, strategy="bald", folder=tmp_path / "kept")
    assert found.pool == 6
    assert list(found.unread) == ["broken"]
    assert len(found.cases) == 2
    assert found == select(bundle, [*cases, broken], 2, strategy="bald", folder=tmp_path / "kept")


def test_strategies_that_a_bundle_cannot_serve_are_refused(tmp_path):
    alone = small_bundle(tmp_path / "alone", members=1, mirrors=())
    cases = write_cases(tmp_path, 2)
    with pytest.raises(DriftError, match="BALD is disagreement between networks"):
        select(alone, cases, 1, strategy="bald")
    with pytest.raises(DriftError, match="trained with mirrors"):
        select(alone, cases, 1, strategy="mirror")
    with pytest.raises(DriftError, match="Received: an empty pool"):
        select(alone, [], 1)
