"""Folds hold each case once, keep patients together, are balanced, and come out the same again."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.dataset.description import Case, Channel, DatasetDescription
from medseg.dataset.folds import (
    foreground_ml,
    holdout,
    load_folds,
    make_folds,
    save_folds,
)
from medseg.dataset.importers import open_dataset
from medseg.errors import CannotWrite, DatasetError, MissingPath
from medseg.volume.labels import Label


def described(patients: list[int], *, order: int = 1) -> DatasetDescription:
    """`patients[n]` cases of patient n; 0 stands for one case without a patient key."""
    cases = [
        Case(
            id=f"case{n:03d}_{m}",
            images=(Path(f"{n}_{m}.nii.gz"),),
            label=Path("l.nii.gz"),
            patient=f"p{n}" if count else None,
        )
        for n, count in enumerate(patients)
        for m in range(max(1, count))
    ]
    return DatasetDescription(
        name="d",
        channels=(Channel(name="c"),),
        labels=(Label(value=1, name="x"),),
        cases=tuple(cases[::order]),
    )


PATIENTS = st.lists(st.integers(0, 6), min_size=5, max_size=40)


@settings(max_examples=60, deadline=None)
@given(PATIENTS, st.integers(2, 5), st.integers(0, 9))
def test_each_case_validates_once_and_patients_stay_together(patients, count, seed):
    description = described(patients)
    folds = make_folds(description, count=count, seed=seed)
    held = [case_id for ids in folds.validation for case_id in ids]
    assert sorted(held) == sorted(case.id for case in description.cases)
    for n, ids in enumerate(folds.validation):
        assert ids
        assert not {i.split("_")[0] for i in ids} & {i.split("_")[0] for i in folds.training(n)}
        assert sorted([*ids, *folds.training(n)]) == sorted(held)


@settings(max_examples=60, deadline=None)
@given(PATIENTS, st.integers(2, 5), st.integers(0, 9))
def test_folds_differ_by_no_more_than_the_largest_patient(patients, count, seed):
    strata = dict(zip([c.id for c in described(patients).cases], range(300), strict=False))
    folds = make_folds(described(patients), count=count, seed=seed, strata=strata)
    sizes = [len(ids) for ids in folds.validation]
    assert max(sizes) - min(sizes) <= max(1, *patients)


@settings(max_examples=20, deadline=None)
@given(PATIENTS, st.integers(0, 9))
def test_the_same_seed_gives_the_same_in_any_order(patients, seed):
    there, back = described(patients), described(patients, order=-1)
    assert make_folds(there, seed=seed) == make_folds(back, seed=seed)
    assert holdout(there, seed=seed) == holdout(back, seed=seed)


def test_another_seed_gives_other_folds():
    description = described([0] * 30)
    made = {make_folds(description, seed=seed).validation for seed in range(5)}
    assert len(made) == 5


def test_strata_are_alike_in_all_folds():
    description = described([0] * 50)
    generator = np.random.default_rng(0)
    strata = {case.id: float(generator.lognormal()) for case in description.cases}

    def spread(folds) -> float:
        return float(np.std([np.median([strata[i] for i in ids]) for ids in folds.validation]))

    by_chance = np.mean([spread(make_folds(description, seed=s)) for s in range(10)])
    stratified = np.mean(
        [spread(make_folds(description, seed=s, strata=strata)) for s in range(10)]
    )
    assert stratified < by_chance / 2


@pytest.mark.parametrize("count", [1, 0, 6])
def test_counts_that_cannot_be_are_refused(count):
    with pytest.raises(DatasetError, match=f"{count} folds of 5 patients"):
        make_folds(described([0] * 5), count=count)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=300), st.integers(0, 9))
def test_holdout_holds_out_a_tenth_of_the_patients(patients, seed):
    description = described(patients)
    training, validation = holdout(description, seed=seed)
    everyone = sorted(case.id for case in description.cases)
    if len(everyone) < 5 or len(patients) < 2:
        assert list(training) == list(validation) == everyone
        return
    assert sorted([*training, *validation]) == everyone
    assert len(training) > 0 < len(validation)
    assert len(validation) <= max(20, min(max(1, n) for n in patients))
    assert not {i.split("_")[0] for i in training} & {i.split("_")[0] for i in validation}
    assert len({i.split("_")[0] for i in validation}) <= max(1, round(0.1 * len(patients)))


def test_holdout_of_180_cases_is_18():
    training, validation = holdout(described([0] * 180), seed=0)
    assert (len(training), len(validation)) == (162, 18)


def test_saving_and_loading_gives_the_same_back(tmp_path):
    description = described([3, 1, 0, 2, 4, 0])
    folds = make_folds(description, count=3)
    save_folds(folds, tmp_path / "folds.json")
    assert load_folds(tmp_path / "folds.json", description) == folds
    assert load_folds(tmp_path) == folds


def test_folds_of_another_data_set_are_refused(tmp_path):
    save_folds(make_folds(described([0] * 6)), tmp_path / "folds.json")
    with pytest.raises(DatasetError, match="6 cases against 7; not in both: case006_0"):
        load_folds(tmp_path / "folds.json", described([0] * 7))


def test_broken_folds_are_refused(tmp_path):
    (tmp_path / "folds.json").write_text('{"seed": 1}')
    with pytest.raises(DatasetError, match="Field required"):
        load_folds(tmp_path)
    with pytest.raises(MissingPath, match="medseg dataset split"):
        load_folds(tmp_path / "none.json")


def test_folds_are_whole_or_absent(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="must be a place"):
        save_folds(make_folds(described([0] * 5)), tmp_path / "file" / "folds.json")


def test_structures_are_measured(tiny_dataset, phantom):
    volumes_ml = foreground_ml(open_dataset(tiny_dataset))
    assert len(volumes_ml) == 6
    expected = (phantom(3)[1].array > 0).sum() * 1.5e-3
    assert volumes_ml["phantom_003"] == pytest.approx(expected)
