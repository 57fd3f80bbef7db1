"""The curves of a training: a table for us, TensorBoard and, on demand, MLflow for others."""

import contextlib
import csv
import importlib.util
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from tensorboardX import SummaryWriter

from medseg.errors import MissingDependency, NetworkUnavailable
from medseg.files import write_text

LOG_FILE = "log.csv"


@dataclass(frozen=True)
class Row:
    """Where training stood at one moment.

    Attributes:
        fold: Which fold.
        step: Steps done.
        epoch: Passes over the training cases.
        seconds: Time of the command.
        share: Share of the training that is done.
        learning_rate: Of the last step.
        loss: Mean since the last row.
        batch_dice: Dice on the training patches since the last row, mean of the structures.
        validation_dice: Dice on a few held-out cases; None where they were not looked at.
        samples_per_second: Patches learned from, since the last row.
        memory_gb: Largest memory of the process, or of the GPU.
        forecast_dice: Dice that is expected at the end on all held-out cases; None where they were
            not looked at, or too seldom yet.
        forecast_error: Half the width of the interval that should hold it in nine of ten trainings.
    """

    fold: int
    step: int
    epoch: float
    seconds: float
    share: float
    learning_rate: float
    loss: float
    batch_dice: float
    validation_dice: float | None
    samples_per_second: float
    memory_gb: float
    forecast_dice: float | None = None
    forecast_error: float | None = None


_COLUMNS = tuple(column.name for column in fields(Row))


class Tracker(Protocol):
    """A server that keeps curves."""

    def log(self, row: Row) -> None:
        """Keep one row."""
        ...

    def close(self) -> None:
        """End the run there."""
        ...


class Journal:
    """Writes rows to `log.csv` and `tensorboard/` of a run folder as they come.

    Args:
        folder: The run.
        trackers: Others that get each row.
    """

    def __init__(self, folder: Path, trackers: tuple[Tracker, ...] = ()) -> None:
        self._path, self._trackers = folder / LOG_FILE, trackers
        self._board_folder = folder / "tensorboard"
        self._boards: dict[int, SummaryWriter] = {}
        if not self._path.exists():
            write_text(self._path, ",".join(_COLUMNS) + "\n")

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for board in self._boards.values():
            board.close()
        for tracker in self._trackers:
            tracker.close()

    def go_back(self, fold: int, step: int) -> None:
        """Forget what this fold wrote after a step: training goes on from there.

        The last line is forgotten too if a killed run left half of it.
        """
        text = self._path.read_text(encoding="utf-8")
        header, *rows = text[: text.rfind("\n")].split("\n")
        kept = [header, *(row for row in rows if not _is_later(row, fold, step))]
        write_text(self._path, "\n".join(kept) + "\n")
        if fold in self._boards:
            self._boards[fold].close()
        self._boards[fold] = SummaryWriter(
            str(self._board_folder / f"fold_{fold}"), purge_step=step + 1
        )

    def add(self, row: Row) -> None:
        """Write one row."""
        facts = {name: value for name, value in asdict(row).items() if value is not None}
        with self._path.open("a", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerow([_short(facts.get(name)) for name in _COLUMNS])
        if row.fold not in self._boards:
            self._boards[row.fold] = SummaryWriter(str(self._board_folder / f"fold_{row.fold}"))
        for name, value in facts.items():
            if name not in ("fold", "step"):
                self._boards[row.fold].add_scalar(name, value, row.step)
        for tracker in self._trackers:
            tracker.log(row)


class MlflowTracker:
    """Sends rows and settings to an MLflow server. A server that goes away stops no training.

    Args:
        uri: Where it is: "sqlite:///runs.db", "http://host:5000".
        experiment: Name of the experiment; the data set's.
        settings: Facts of the run that do not change.

    Raises:
        MissingDependency: If MLflow is not installed.
        NetworkUnavailable: If the server cannot be reached when training begins.
    """

    def __init__(self, uri: str, *, experiment: str, settings: Mapping[str, Any]) -> None:
        if importlib.util.find_spec("mlflow") is None:
            raise MissingDependency(
                "Curves are sent to MLflow with its own package.",
                received="mlflow is not installed",
                cure="Install it: pip install mlflow-skinny.",
            )
        import mlflow
        from mlflow.exceptions import MlflowException

        self._trouble: type[Exception] = MlflowException
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        try:
            found = self._client.get_experiment_by_name(experiment)
            number = found.experiment_id if found else self._client.create_experiment(experiment)
            self._run = self._client.create_run(number).info.run_id
            for name, value in settings.items():
                self._client.log_param(self._run, name, value)
        except MlflowException as error:
            raise NetworkUnavailable(
                f"MLflow must answer at {uri}.",
                received=" ".join(str(error).split())[:200],
                cure="Start the server, or leave --mlflow out.",
            ) from error

    def log(self, row: Row) -> None:
        """Keep one row."""
        with contextlib.suppress(self._trouble):
            for name, value in asdict(row).items():
                if value is not None and name not in ("fold", "step"):
                    key = f"fold_{row.fold}/{name}"
                    self._client.log_metric(self._run, key, value, step=row.step)

    def close(self) -> None:
        """End the run there."""
        with contextlib.suppress(self._trouble):
            self._client.set_terminated(self._run)


def _is_later(row: str, fold: int, step: int) -> bool:
    of_fold, at_step, *_ = row.split(",")
    return int(of_fold) == fold and int(at_step) > step


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
