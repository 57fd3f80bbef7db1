"""The loop closes: it waits, goes on, promotes what is better, and ends the same after any kill."""

import shutil
from pathlib import Path

import pytest
from looping import write_data, write_image, write_label
from watching import small_bundle

from medseg.continual import loop as loop_module
from medseg.continual.loop import run_loop
from medseg.continual.loop_state import STEPS, load_state, settings_of
from medseg.continual.promotion import PromotionRule
from medseg.continual.registry import Registry
from medseg.continual.versioned import VersionedData
from medseg.errors import LoopError

ASKED = {
    "data": Path("data"), "bundles": Path("bundles"), "test": Path("test"),
    "pool": (Path("pool"),), "labels": Path("labels"), "epochs": 12, "device": "cpu",
    "precision": "fp32",
    "learning_rate_share": 1.0, "rule": PromotionRule(old_loss=0.5, old_structure_loss=1.0),
}  # fmt: skip


@pytest.fixture(scope="module")
def first_world(tmp_path_factory):
    root = tmp_path_factory.mktemp("loop")
    write_data(root / "data", range(4))
    VersionedData.create(root / "data").commit("first")
    write_data(root / "test", range(20, 22), prefix="test")
    for folder in ("pool", "labels"):
        (root / folder).mkdir()
    for n in range(10, 19):
        write_image(root / "pool" / f"new_{n}.nii.gz", n, brighter=200)
        write_label(root / "labels" / f"new_{n}.nii.gz", n)
    Registry(root / "bundles").promote(small_bundle(root / "bundle", members=1))
    return root


@pytest.fixture
def world(first_world, tmp_path, monkeypatch):
    shutil.copytree(first_world, tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")
    return tmp_path / "world"


class Killed(BaseException):
    """What nothing catches."""


def killing(monkeypatch):
    """Die at the first try to note each step, when its work is done."""
    real, died = loop_module.save_state, set()

    def save(state, folder):
        last = next((step for step in reversed(STEPS) if getattr(state, step) is not None), None)
        if last is not None and last not in died:
            died.add(last)
            raise Killed(last)
        real(state, folder)

    monkeypatch.setattr(loop_module, "save_state", save)
    return died


@pytest.mark.slow
def test_killed_at_every_step_it_ends_in_the_same_bytes(world, monkeypatch):
    shutil.copytree(world, world.parent / "twin")
    done = run_loop(settings_of(**ASKED), Path("run"))
    assert done.next is None
    assert done.decide.promote, done.decide.why
    new = done.decide.changes[1]
    assert new.candidate > new.current
    expected = Path("run/loop.json").read_bytes()
    model = Registry(Path("bundles")).current()
    assert model.provenance.data_version == done.labels.version
    assert set(model.provenance.training_cases) <= {*done.labels.learning, *done.labels.replayed}

    monkeypatch.chdir(world.parent / "twin")
    died = killing(monkeypatch)
    resume = False
    for _ in range(2 * len(STEPS)):
        try:
            run_loop(settings_of(**ASKED), Path("run"), resume=resume)
            break
        except Killed:
            resume = True
    assert died == set(STEPS)
    assert Path("run/loop.json").read_bytes() == expected
    assert Registry(Path("bundles")).current().weights_sha256 == model.weights_sha256
    assert len(Registry(Path("bundles")).history()) == 2
    assert len(VersionedData(Path("data")).versions()) == 2


def test_it_waits_for_labels_and_goes_on_with_them(world, monkeypatch):
    monkeypatch.setattr("medseg.continual.loop.DOING", _stopping_after_labels())
    asked = settings_of(**ASKED | {"labels": None, "count": 2})
    waiting = run_loop(asked, Path("run"))
    assert waiting.is_waiting
    assert len(waiting.select.cases) == 2
    assert (world / "run" / "worklist" / "worklist.csv").is_file()
    with pytest.raises(LoopError, match="--resume"):
        run_loop(asked, Path("run"))
    final = world / "run" / "worklist" / "images" / "labels" / "final"
    for name in waiting.select.cases:
        shutil.copyfile(world / "labels" / f"{name}.nii.gz", final / f"{name}.nii.gz")
    given = settings_of(**ASKED | {"labels": final.relative_to(world), "count": 2})
    with pytest.raises(_Stop):
        run_loop(given, Path("run"), resume=True)
    assert set(load_state(Path("run")).labels.new) == set(waiting.select.cases)


class _Stop(Exception):
    pass


def _stopping_after_labels():
    def stop(_):
        raise _Stop

    return dict(loop_module.DOING) | {"train": stop}


def test_data_that_are_in_no_version_begin_no_loop(world):
    write_label(world / "data" / "labels" / "case_00.nii.gz", 0, shift=1)
    with pytest.raises(LoopError, match="medseg version commit"):
        run_loop(settings_of(**ASKED), Path("run"))
    assert not Path("run").exists()


def test_a_folder_of_bundles_without_one_in_use_is_told(world):
    with pytest.raises(LoopError, match="medseg loop promote"):
        run_loop(settings_of(**ASKED | {"bundles": Path("none")}), Path("run"))
