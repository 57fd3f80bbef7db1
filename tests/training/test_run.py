from pathlib import Path

import pytest
from pydantic import ValidationError

from medseg.dataset.description import DatasetDescription
from medseg.dataset.fingerprint import take_fingerprint
from medseg.dataset.plan import make_plan
from medseg.errors import CannotResume
from medseg.specs import Budget
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
