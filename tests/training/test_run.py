from pathlib import Path

import pytest
from pydantic import ValidationError

from medseg.dataset.description import DatasetDescription
from medseg.dataset.fingerprint import take_fingerprint
from medseg.dataset.plan import Plan, make_plan, save_plan
from medseg.errors import CannotResume, PlanError
from medseg.specs import Budget
from medseg.training.crossval import train
from medseg.training.run import RunFolder, RunSettings, arch_of


def test_either_time_or_epochs() -> None:
    with pytest.raises(ValidationError, match="either seconds or epochs"):
        RunSettings()
    with pytest.raises(ValidationError, match="either seconds or epochs"):
        RunSettings(seconds=60, epochs=2)


@pytest.mark.parametrize("folds", [(5,), (-1,), (1, 1)])
def test_folds_are_five_and_each_once(folds: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="numbers from 0 to 4"):
        RunSettings(epochs=1, folds=folds)


def test_more_time_may_be_given_on_resume(blobs: DatasetDescription, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.open(RunSettings(seconds=60), blobs, resume=False)
    longer = folder.open(RunSettings(seconds=120), blobs, resume=True)
    assert longer.settings.seconds == 120


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"epochs": 3}, "epochs 3 instead of 2"),
        ({"folds": (0,)}, r"folds \(0,\) instead of \(\)"),
        ({"precision": "fp32"}, "precision fp32 instead of auto"),
        ({"epochs": None, "seconds": 60.0}, "budget time instead of epochs"),
    ],
)
def test_other_settings_are_refused_on_resume(
    blobs: DatasetDescription, tmp_path: Path, changed: dict[str, object], words: str
) -> None:
    folder, settings = RunFolder(tmp_path / "run"), RunSettings(epochs=2)
    folder.open(settings, blobs, resume=False)
    with pytest.raises(CannotResume, match=words):
        folder.open(settings.model_copy(update=changed), blobs, resume=True)


@pytest.mark.parametrize("folds", [(), (0, 1)])
def test_a_run_that_was_refused_before_its_plan_leaves_room_for_another(
    blobs: DatasetDescription, tmp_path: Path, folds: tuple[int, ...]
) -> None:
    out = tmp_path / "run"
    refused = RunSettings(epochs=1, config="cascade", folds=folds, device="cpu")
    with pytest.raises(PlanError, match="no 3d_low that it could refine"):
        train(blobs, out, refused)
    assert not out.exists()
    (out / "kept").mkdir(parents=True)
    with pytest.raises(PlanError, match="no 3d_low that it could refine"):
        train(blobs, out, refused)
    assert [path.name for path in out.iterdir()] == ["kept"]


def test_a_run_with_a_plan_is_not_given_up(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path
) -> None:
    settings = RunSettings(epochs=1)
    folder = RunFolder(tmp_path)
    folder.open(settings, blobs, resume=False)
    save_plan(plan, folder.plan)
    folder.give_up(settings)
    assert folder.record.is_file()
    assert folder.plan.is_file()


def test_other_data_are_refused_on_resume(blobs: DatasetDescription, tmp_path: Path) -> None:
    folder, settings = RunFolder(tmp_path / "run"), RunSettings(epochs=2)
    folder.open(settings, blobs, resume=False)
    fewer = blobs.model_copy(update={"cases": blobs.cases[1:]})
    with pytest.raises(CannotResume, match="cases"):
        folder.open(settings, fewer, resume=True)


@pytest.mark.parametrize("content", ["", "{}", "[1]"])
def test_broken_record_is_refused(blobs: DatasetDescription, tmp_path: Path, content: str) -> None:
    folder, settings = RunFolder(tmp_path / "run"), RunSettings(epochs=2)
    folder.open(settings, blobs, resume=False)
    folder.record.write_text(content)
    with pytest.raises(CannotResume, match="settings of a run"):
        folder.open(settings, blobs, resume=True)


def test_where_no_network_is_asked_for_it_is_the_plans_or_the_runs(
    blobs: DatasetDescription, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    assert arch_of(folder, None) == "plain_unet"
    assert arch_of(folder, None, "m") == "resenc_unet"
    folder.open(RunSettings(seconds=60, arch="unetr"), blobs, resume=False)
    assert arch_of(folder, None) == "unetr"
    budget = Budget(epochs=1, memory_bytes=2 << 30, gflops=100)
    plan = make_plan(take_fingerprint(blobs), budget, arch="unet")
    assert arch_of(folder, plan) == arch_of(folder, plan, "l") == "unet"
