import csv
import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from medseg.errors import MissingDependency
from medseg.training.log import Journal, MlflowTracker, Row

ROW = Row(
    fold=0, step=10, epoch=2.5, seconds=3.0, share=0.1, learning_rate=1e-3, loss=0.9,
    batch_dice=0.4, validation_dice=None, samples_per_second=12.0, memory_gb=0.5,
)  # fmt: skip


class Tracker:
    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.closed = False

    def log(self, row: Row) -> None:
        self.rows.append(row)

    def close(self) -> None:
        self.closed = True


def rows_in(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_rows_go_to_the_table_the_board_and_trackers(tmp_path: Path) -> None:
    tracker = Tracker()
    with Journal(tmp_path, (tracker,)) as journal:
        journal.add(ROW)
        journal.add(replace(ROW, step=20, validation_dice=0.75))
    first, second = rows_in(tmp_path)
    assert (first["step"], first["loss"], first["validation_dice"]) == ("10", "0.9", "")
    assert second["validation_dice"] == "0.75"
    assert [row.step for row in tracker.rows] == [10, 20]
    assert tracker.closed
    assert list((tmp_path / "tensorboard" / "fold_0").glob("events.*"))


def test_going_back_forgets_later_rows_of_that_fold_only(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for fold in (0, 1):
            for step in (10, 20, 30):
                journal.add(replace(ROW, fold=fold, step=step))
    with Journal(tmp_path) as journal:
        journal.go_back(1, 20)
        journal.add(replace(ROW, fold=1, step=25))
    found = [(row["fold"], row["step"]) for row in rows_in(tmp_path)]
    assert found == [("0", "10"), ("0", "20"), ("0", "30"), ("1", "10"), ("1", "20"), ("1", "25")]


def test_half_a_row_of_a_killed_run_is_forgotten(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.add(ROW)
    with (tmp_path / "log.csv").open("a") as stream:
        stream.write("0,20,5.0,3")
    with Journal(tmp_path) as journal:
        journal.go_back(0, 100)
    assert [row["step"] for row in rows_in(tmp_path)] == ["10"]


def test_mlflow_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingDependency, match="pip install mlflow"):
        MlflowTracker("sqlite:///runs.db", experiment="Blobs", settings={})
