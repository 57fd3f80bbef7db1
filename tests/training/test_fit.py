"""When the loop writes rows and checkpoints and looks at held-out cases, by a clock of its own."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from medseg.specs import RecipeSpec
from medseg.training import fit as room
from medseg.training.batch_dice import BatchOverlap
from medseg.training.checkpoint import Checkpoint
from medseg.training.course import Course, Look, Trained
from medseg.training.data import Batch
from medseg.training.fit import CHECKPOINT_SECONDS, fit
from medseg.training.forecast import LEAST_LOOKS, PATIENCE
from medseg.training.log import Journal
from medseg.training.module import Step
from medseg.training.schedule import ByTime


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Sleeper:
    """A learner whose steps take a second of the clock and learn nothing."""

    device = torch.device("cpu")

    def __init__(self, clock: Time) -> None:
        self.clock, self.steps, self.parts = clock, 0, 1
        self.overlap = BatchOverlap((), ignored=None)
        self.rates: list[float] = []
        self.shares: list[float] = []

    def at_share(self, share: float) -> None:
        self.shares.append(share)

    def step(self, batch: Batch, rate: float) -> Step:
        self.clock.now += 1.0
        self.steps += 1
        self.rates.append(rate)
        return Step(0.5, torch.nn.functional.one_hot(batch[1], 2).movedim(-1, 1).float(), True)

    def is_sound(self) -> bool:
        return True

    def state(self) -> dict[str, Tensor]:
        return {}

    def scaler_state(self) -> dict[str, float]:
        return {}

    def averaged_weights(self) -> dict[str, Tensor]:
        return {}


class Same:
    """The same batch for ever: half of it is structure."""

    batch_size = 2

    @contextmanager
    def starting_at(self, _step: int, *, workers: int) -> Iterator[Iterator[Batch]]:
        labels = torch.arange(16).reshape(2, 2, 2, 2) % 2
        yield iter(lambda: (labels[:, None].float(), labels), None)

    def epochs_of(self, steps: int) -> float:
        return steps / 10


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Checkpoint]:
    checkpoints: list[Checkpoint] = []
    monkeypatch.setattr(room, "save_checkpoint", lambda made, _path: checkpoints.append(made))
    return checkpoints


def run(
    folder: Path, clock: Time, *, look_seconds: float, stop_early: bool = False
) -> tuple[Trained, Sleeper]:
    learner = Sleeper(clock)

    def score(_weights: dict[str, Tensor]) -> tuple[float, ...]:
        clock.now += look_seconds
        return 0.7, 0.8

    with Journal(folder) as journal:
        course = Course(
            recipe=RecipeSpec(),
            timetable=ByTime(clock, end=1000.0),
            clock=clock,
            checkpoint=folder / "checkpoint.safetensors",
            journal=journal,
            look=Look(score, look_seconds, held_out=2),
            stop_early=stop_early,
        )
        trained = fit(learner, Same(), course)  # type: ignore[arg-type]
    return trained, learner


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_checkpoints_are_never_a_minute_apart(tmp_path: Path, written: list[Checkpoint]) -> None:
    run(tmp_path, Time(), look_seconds=0.0)
    times = [0.0, *(checkpoint.command_seconds for checkpoint in written), 1000.0]
    assert CHECKPOINT_SECONDS < 60
    assert max(b - a for a, b in pairwise(times)) < 60
    assert [checkpoint.facts["finished"] for checkpoint in written[-2:]] == [False, True]


@pytest.mark.parametrize(("look_seconds", "most"), [(0.1, 20), (5.0, 6), (100.0, 0)])
def test_looks_take_at_most_three_hundredths(
    tmp_path: Path, written: list[Checkpoint], look_seconds: float, most: int
) -> None:
    clock = Time()
    trained, learner = run(tmp_path, clock, look_seconds=look_seconds)
    looks = [row for row in rows(tmp_path) if row["validation_dice"]]
    assert len(looks) <= most
    assert len(looks) * look_seconds <= 0.03 * 1000
    assert bool(looks) == (most > 0)
    assert 995 <= clock.now <= 1000
    assert learner.steps == trained.steps >= 960


def test_rows_tell_loss_dice_rate_and_speed(tmp_path: Path, written: list[Checkpoint]) -> None:
    _, learner = run(tmp_path, Time(), look_seconds=0.0)
    found = rows(tmp_path)
    assert 100 < len(found) < 500
    assert {row["loss"] for row in found} == {"0.5"}
    assert {row["batch_dice"] for row in found} == {"1"}
    assert {row["samples_per_second"] for row in found} == {"2"}
    assert float(found[-1]["learning_rate"]) == pytest.approx(learner.rates[-1], rel=1e-4)
    assert learner.rates[-1] < 1e-4 * max(learner.rates)


def test_the_learner_is_told_how_far_training_is(tmp_path: Path, written: list[Checkpoint]) -> None:
    _, learner = run(tmp_path, Time(), look_seconds=0.0)
    assert len(learner.shares) == learner.steps
    assert all(a <= b for a, b in pairwise(learner.shares))
    assert learner.shares[0] < 0.01 < 0.99 < learner.shares[-1]


def test_looks_foretell_the_end_with_an_error(tmp_path: Path, written: list[Checkpoint]) -> None:
    run(tmp_path, Time(), look_seconds=0.1)
    looks = [row for row in rows(tmp_path) if row["validation_dice"]]
    assert [row["forecast_dice"] for row in looks[: LEAST_LOOKS - 1]] == ["", "", ""]
    assert {float(row["forecast_dice"]) for row in looks[LEAST_LOOKS - 1 :]} == {0.75}
    errors = [float(row["forecast_error"]) for row in looks[LEAST_LOOKS - 1 :]]
    assert errors[0] > errors[-1] > 0
    assert not any(row["forecast_dice"] for row in rows(tmp_path) if not row["validation_dice"])


def test_it_stops_early_only_if_asked(tmp_path: Path, written: list[Checkpoint]) -> None:
    whole, _ = run(tmp_path / "whole", Time(), look_seconds=0.1)
    short, _ = run(tmp_path / "short", Time(), look_seconds=0.1, stop_early=True)
    assert not whole.stopped_early
    assert short.stopped_early
    looks = [row for row in rows(tmp_path / "short") if row["validation_dice"]]
    assert len(looks) == PATIENCE + 1
    assert short.steps < 0.5 * whole.steps
    assert written[-1].facts["finished"]
    assert written[-1].facts["stopped_early"]
