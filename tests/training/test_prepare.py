"""Who trains and who judges is that of `medseg dataset split`, and stays so in a resumed run."""

from pathlib import Path

from medseg.dataset.description import DatasetDescription
from medseg.dataset.folds import foreground_ml, load_folds, make_folds
from medseg.progress import SILENT
from medseg.training.prepare import make_splits
from medseg.training.run import RunFolder, RunSettings

SETTINGS = RunSettings(epochs=1, folds=(0, 3), seed=2)


def test_folds_are_those_of_dataset_split(blobs: DatasetDescription, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    splits = make_splits(folder, blobs, SETTINGS, SILENT)
    folds = make_folds(blobs, count=5, seed=2, strata=foreground_ml(blobs))
    assert load_folds(folder.folds, blobs) == folds
    assert [split.fold for split in splits] == [0, 3]
    for split in splits:
        assert split.validation == folds.validation[split.fold]
        assert set(split.training) == set(folds.training(split.fold))


def test_a_run_keeps_its_folds(blobs: DatasetDescription, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    before = make_splits(folder, blobs, SETTINGS, SILENT)
    moved = tuple(case.model_copy(update={"label": None}) for case in blobs.cases)
    after = make_splits(folder, blobs.model_copy(update={"cases": moved}), SETTINGS, SILENT)
    assert after == before
