"""Steps refuse what would judge a candidate by what it learned, and what is not there."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from looping import write_data, write_image, write_label
from watching import small_bundle

from medseg.bundle import Configuration, save_bundle
from medseg.continual.loop_state import (
    Candidate,
    InUse,
    LabelsTaken,
    LoopState,
    settings_of,
)
from medseg.continual.loop_steps import (
    Loop,
    choose_cases,
    look_for_drift,
    put_in_use,
    take_labels,
    train_candidate,
)
from medseg.continual.promotion import Verdict
from medseg.continual.registry import Registry
from medseg.continual.versioned import VersionedData
from medseg.dataset.description import load_description, save_description
from medseg.errors import DatasetError, LoopError


@pytest.fixture(scope="module")
def first_world(tmp_path_factory):
    """Data with a version, a test set, a pool with labels, and a bundle in use."""
    root = tmp_path_factory.mktemp("world")
    write_data(root / "data", range(4))
    VersionedData.create(root / "data").commit("first")
    write_data(root / "test", range(20, 22), prefix="test")
    (root / "pool").mkdir()
    (root / "labels").mkdir()
    for n in range(10, 16):
        write_image(root / "pool" / f"new_{n}.nii.gz", n, brighter=200)
        write_label(root / "labels" / f"new_{n}.nii.gz", n)
    Registry(root / "bundles").promote(small_bundle(root / "bundle", members=1))
    return root


@pytest.fixture
def world(first_world, tmp_path, monkeypatch):
    shutil.copytree(first_world, tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")
    return tmp_path / "world"


def loop_of(world, **asked):
    settings = settings_of(
        **{"data": Path("data"), "bundles": Path("bundles"), "test": Path("test"),
           "pool": (Path("pool"),), "labels": Path("labels"), "epochs": 1} | asked
    )  # fmt: skip
    (world / "run").mkdir(exist_ok=True)
    return Loop(
        Path("run"), LoopState(settings=settings, start=Registry(Path("bundles")).current_name())
    )


def going_on(loop, **outcomes):
    return replace(loop, state=loop.state.model_copy(update=outcomes))


def test_without_a_baseline_or_with_labels_the_first_steps_do_nothing(world):
    assert look_for_drift(loop_of(world)).alarm is None
    assert choose_cases(loop_of(world)).cases == ()


def test_labels_become_a_version_and_judges_do_not_learn(world):
    found = take_labels(loop_of(world))
    assert len(found.new) == 6
    assert len(found.judging) == 2
    assert set(found.learning) | set(found.judging) == set(found.new)
    assert not set(found.learning) & set(found.judging)
    assert set(found.replayed) == {f"case_{n:02d}" for n in range(4)}
    data = VersionedData(world / "data")
    assert data.manifest(data.find("v2")).digest == found.version


def test_taking_labels_again_after_a_kill_finds_the_same(world):
    loop = loop_of(world)
    first = take_labels(loop)
    assert take_labels(loop) == first
    assert len(VersionedData(world / "data").versions()) == 2


def test_labels_that_are_all_known_begin_no_loop(world):
    take_labels(loop_of(world))
    other = replace(loop_of(world), folder=Path("another"))
    with pytest.raises(LoopError, match="labels that are new"):
        take_labels(other)


def test_a_patient_is_on_one_side(world):
    take_labels(loop_of(world))
    description = load_description(world / "data")
    cases = tuple(
        case.model_copy(update={"patient": f"p{int(case.id[-2:]) // 3}"})
        for case in description.cases
    )
    save_description(description.model_copy(update={"cases": cases}), world / "data")
    for path in (world / "labels").iterdir():
        write_label(path, int(path.name[4:6]), shift=1)
    found = take_labels(replace(loop_of(world), folder=Path("another")))
    patients = {case.id: case.patient for case in cases}
    learned = {patients[name] for name in found.learning}
    assert not learned & {patients[name] for name in found.judging}


def test_cases_that_the_bundle_in_use_learned_from_do_not_judge(world):
    first = small_bundle(world / "again", members=1, learned=("case_00", "case_01", "case_02"))
    Registry(world / "bundles").promote(first)
    shutil.rmtree(world / "labels")
    for n in range(4):
        write_label(world / "labels" / f"case_{n:02d}.nii.gz", n, shift=1)
    write_label(world / "labels" / "new_10.nii.gz", 10)
    found = take_labels(loop_of(world))
    assert len(found.new) == 5
    assert set(found.judging) == {"case_03", "new_10"}


@pytest.mark.parametrize("which", ["test", "new_test"])
def test_a_test_case_in_the_pool_is_refused(world, which):
    write_data(world / "shared", [12], prefix="new")
    with pytest.raises(LoopError, match="such as new_12"):
        take_labels(loop_of(world, **{which: Path("shared")}))


def test_a_test_set_that_shares_a_case_is_refused(world):
    shutil.rmtree(world / "test")
    write_data(world / "test", [1])
    with pytest.raises(LoopError, match=r"1 of test shared, such as case_01"):
        take_labels(loop_of(world))
    assert len(VersionedData(world / "data").versions()) == 1


def test_labels_of_unknown_cases_change_nothing(world):
    write_label(world / "labels" / "stranger.nii.gz", 1)
    with pytest.raises(DatasetError, match="stranger"):
        take_labels(loop_of(world))
    assert VersionedData(world / "data").diff("v1", "now").is_empty


def test_other_data_than_those_of_the_loop_are_refused(world):
    loop = loop_of(world)
    loop = going_on(loop, labels=take_labels(loop))
    write_label(world / "data" / "labels" / "case_00.nii.gz", 0, shift=1)
    with pytest.raises(LoopError, match="medseg version checkout"):
        train_candidate(loop)


def test_a_bundle_of_several_configurations_is_not_gone_on_with(world):
    model = small_bundle(world / "one", members=1)
    both = replace(model, further=(Configuration(model.plan, model.members),))
    Registry(world / "bundles").promote(save_bundle(both, world / "two"))
    loop = loop_of(world)
    loop = going_on(loop, labels=LabelsTaken(version="", new=(), learning=(), judging=(),
                                             replayed=()))  # fmt: skip
    with pytest.raises(LoopError, match="one configuration"):
        train_candidate(loop)


def judged(world, verdict):
    """A loop that has come to its last step, with a candidate of its own."""
    loop = loop_of(world)
    taken = take_labels(loop)
    model = small_bundle(world / "made", members=2)
    shutil.copytree(model.folder, world / "run" / "train" / "bundle")
    return going_on(
        loop, labels=taken, train=Candidate(weights_sha256=model.weights_sha256), decide=verdict
    )


def test_the_candidate_is_put_in_use_once(world):
    loop = judged(world, Verdict(promote=True, why=("better",), changes=()))
    first = put_in_use(loop)
    assert put_in_use(loop) == first
    assert Registry(world / "bundles").current().weights_sha256 == loop.candidate.weights_sha256
    assert len(Registry(world / "bundles").history()) == 2


def test_shifted_labels_are_taken_back(world):
    verdict = Verdict(promote=False, labels_look_shifted=True, why=("shifted",), changes=())
    loop = judged(world, verdict)
    for _ in range(2):  # as after a kill
        assert put_in_use(loop) == InUse(bundle=loop.state.start)
    data = VersionedData(world / "data")
    assert len(data.versions()) == 3
    assert data.diff("v1", "now").is_empty
    assert data.diff("v1", "v3").is_empty
    assert Registry(world / "bundles").history()[-1].action == "kept"


def test_a_bundle_that_was_put_in_use_meanwhile_is_not_replaced(world):
    loop = judged(world, Verdict(promote=True, why=("better",), changes=()))
    changed = {name: t + 1 for name, t in loop.start.members[0].items()}
    other = save_bundle(replace(loop.start, members=(changed,)), world / "other")
    Registry(world / "bundles").promote(other)
    with pytest.raises(LoopError, match="compared with"):
        put_in_use(loop)
