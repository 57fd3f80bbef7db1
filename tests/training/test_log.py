import csv
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from medseg.errors import MissingDependency, NetworkUnavailable
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


class Server:
    """What of MLflow's client is used, kept in a list."""

    def __init__(self, tracking_uri: str) -> None:
        self.calls: list[object] = []
        self.away = tracking_uri == "http://nowhere"

    def get_experiment_by_name(self, _name: str) -> None:
        self._answer()

    def create_experiment(self, _name: str) -> str:
        return "7"

    def create_run(self, _experiment: str) -> SimpleNamespace:
        return SimpleNamespace(info=SimpleNamespace(run_id="r"))

    def log_param(self, run: str, name: str, value: object) -> None:
        self._answer((run, name, value))

    def log_metric(self, run: str, name: str, value: float, *, step: int) -> None:
        self._answer((run, name, value, step))

    def set_terminated(self, run: str) -> None:
        self._answer((run, "end"))

    def _answer(self, call: object = None) -> None:
        if self.away:
            raise sys.modules["mlflow.exceptions"].MlflowException("no answer")
        self.calls.append(call)


@pytest.fixture
def _mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    module, errors = ModuleType("mlflow"), ModuleType("mlflow.exceptions")
    module.MlflowClient = Server  # type: ignore[attr-defined]
    errors.MlflowException = type("MlflowException", (Exception,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.exceptions", errors)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: module)


@pytest.mark.usefixtures("_mlflow")
def test_mlflow_gets_rows_and_its_loss_stops_nothing() -> None:
    tracker = MlflowTracker("http://here", experiment="Blobs", settings={"seed": 0})
    server = tracker._client
    tracker.log(ROW)
    server.away = True
    tracker.log(ROW)
    tracker.close()
    assert ("r", "seed", 0) in server.calls
    assert ("r", "fold_0/loss", 0.9, 10) in server.calls


@pytest.mark.usefixtures("_mlflow")
def test_mlflow_that_does_not_answer_is_refused_at_the_start() -> None:
    with pytest.raises(NetworkUnavailable, match="must answer at http://nowhere"):
        MlflowTracker("http://nowhere", experiment="Blobs", settings={})
