"""Trouble is noticed from the losses alone, and training goes back, halved, and on."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from medseg.dataset.plan import Plan
from medseg.errors import TrainingDiverged
from medseg.progress import Silent
from medseg.training import fit as room
from medseg.training.checkpoint import Checkpoint, load_checkpoint
from medseg.training.course import Course, Trained
from medseg.training.data import Batch
from medseg.training.fit import fit
from medseg.training.log import Journal
from medseg.training.module import Learner
from medseg.training.schedule import BySteps
from medseg.training.steady import BAD_STEPS, FAR_STEPS, KEEP_EVERY, MOST_ROLLBACKS, Watch


def losses(count: int, *, level: float = 0.4, seed: int = 0) -> list[float]:
    """Losses as a training has them: a fall, then noise that is a third of the level."""
    noise = np.random.default_rng(seed).lognormal(sigma=0.35, size=count)
    fall = 2.5 * np.exp(-np.arange(count) / 40)
    return ((fall + level) * noise).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_trouble(seed: int) -> None:
    watch = Watch()
    assert {watch.see(loss, is_finite=True) for loss in losses(3000, seed=seed)} == {None}


@pytest.mark.parametrize("factor", [4.0, 1e6])
def test_a_loss_that_stays_far_above_its_level_is_trouble(factor: float) -> None:
    watch = Watch()
    for loss in losses(300):
        watch.see(loss, is_finite=True)
    found = [watch.see(0.4 * factor, is_finite=True) for _ in range(FAR_STEPS)]
    assert found == [None] * (FAR_STEPS - 1) + ["diverged"]
    assert not watch.is_calm


def test_it_is_noticed_from_the_first_step_on() -> None:
    watch = Watch()
    watch.see(2.9, is_finite=True)
    assert [watch.see(1e3 * 2**n, is_finite=True) for n in range(FAR_STEPS)][-1] == "diverged"


def test_one_far_loss_is_forgotten() -> None:
    watch = Watch()
    for loss in losses(300):
        watch.see(loss, is_finite=True)
    watch.see(50.0, is_finite=True)
    assert not watch.is_calm
    watch.see(0.4, is_finite=True)
    assert watch.is_calm


def test_gradients_without_numbers_are_trouble_when_they_go_on() -> None:
    watch = Watch()
    watch.see(0.5, is_finite=True)
    found = [watch.see(math.nan, is_finite=False) for _ in range(BAD_STEPS)]
    assert found == [None] * (BAD_STEPS - 1) + ["not-finite"]


def test_what_it_knows_can_be_recalled() -> None:
    watch, twin = Watch(), Watch()
    for loss in losses(70):
        watch.see(loss, is_finite=True)
    twin.recall(watch.facts())
    for loss in [9.0] * 30:
        assert watch.see(loss, is_finite=True) == twin.see(loss, is_finite=True)
    assert watch.facts() == twin.facts()


class Blobs:
    """Batches of one bright box, another at each step."""

    batch_size = 2

    def batch(self, step: int) -> Batch:
        generator = torch.Generator().manual_seed(step)
        image = torch.randn(2, 1, 8, 8, 8, generator=generator) * 0.3
        labels = torch.zeros(2, 8, 8, 8, dtype=torch.int64)
        labels[:, 2:6, 2:6, 2:6] = 1
        image[:, 0][labels > 0] += 2
        return image, labels

    @contextmanager
    def starting_at(self, step: int, *, workers: int) -> Iterator[Iterator[Batch]]:
        yield (self.batch(n) for n in range(step, 10**6))

    def epochs_of(self, steps: int) -> float:
        return float(steps)


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


class Outcome(NamedTuple):
    trained: Trained
    notes: list[str]
    rates: list[float]


def train(
    plan: Plan,
    folder: Path,
    steps: int,
    *,
    rate: float = 5e-3,
    poison: tuple[int, ...] = (),
    resume: bool = False,
    optimizer: str = "adamw",
) -> Outcome:
    """Train; the first time that a poisoned step is reached, its weights become no numbers."""
    recipe = plan.recipe.model_copy(
        update={"learning_rate": rate, "optimizer": optimizer, "gradient_clip": 1e9}
    )
    learner = Learner(
        plan.model_copy(update={"recipe": recipe}), device="cpu", precision="fp32", seed=0
    )
    past = load_checkpoint(folder / "c.safetensors") if resume else None
    if past:
        learner.restore(past.tensors, past.facts["scaler"], past.step)
    left, notes, rates = list(poison), Notes(), []
    whole = learner.step

    def step(batch: Batch, rate: float) -> object:
        rates.append(rate)
        if learner.steps in left:
            left.remove(learner.steps)
            with torch.no_grad():
                next(iter(learner._parameters.values())).fill_(math.nan)
        return whole(batch, rate)

    learner.step = step  # type: ignore[method-assign, assignment]
    with Journal(folder) as journal:
        course = Course(
            recipe=recipe,
            timetable=BySteps(steps),
            clock=lambda: 0.0,
            checkpoint=folder / "c.safetensors",
            journal=journal,
        )
        trained = fit(learner, Blobs(), course, past=past, progress=notes)  # type: ignore[arg-type]
    return Outcome(trained, notes.said, rates)


def equal(a: Trained, b: Trained) -> bool:
    return all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)


def test_poisoned_weights_go_back_to_the_last_good_ones_with_half_the_rate(
    plan: Plan, tmp_path: Path
) -> None:
    calm = train(plan, tmp_path / "calm", 120)
    found = train(plan, tmp_path / "ill", 120, poison=(70,))
    (incident,) = found.trained.incidents
    assert (incident.kind, incident.back_to, incident.rate_factor) == (
        "not-finite",
        KEEP_EVERY,
        0.5,
    )
    assert incident.step == 70 + BAD_STEPS
    assert found.notes == [incident.sentence]
    assert found.trained.steps == 120
    assert all(torch.isfinite(weight).all() for weight in found.trained.weights.values())
    assert found.rates[:70] == calm.rates[:70]
    assert found.rates[70 + BAD_STEPS :] == [0.5 * rate for rate in calm.rates[KEEP_EVERY:]]


def test_weights_that_are_no_numbers_at_the_very_end_are_not_kept(
    plan: Plan, tmp_path: Path
) -> None:
    found = train(plan, tmp_path, 60, poison=(58,))
    assert [one.back_to for one in found.trained.incidents] == [KEEP_EVERY]
    assert all(torch.isfinite(weight).all() for weight in found.trained.weights.values())


def test_no_checkpoint_is_written_from_a_bad_state(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Checkpoint] = []
    monkeypatch.setattr(room, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(room, "save_checkpoint", lambda made, _path: written.append(made))
    train(plan, tmp_path, 80, poison=(60,))
    assert len(written) > 60
    for checkpoint in written:
        assert all(torch.isfinite(t).all() for t in checkpoint.tensors.values())
    after = next(c for c in written if c.facts["incidents"])
    assert (after.step, after.facts["incidents"][0]["rate_factor"]) == (KEEP_EVERY, 0.5)


def test_a_rate_that_is_too_high_is_halved_until_it_learns(plan: Plan, tmp_path: Path) -> None:
    found = train(plan, tmp_path, 100, rate=8.0, optimizer="sgd")
    kinds = {one.kind for one in found.trained.incidents}
    assert kinds <= {"diverged", "not-finite"}
    assert kinds
    assert found.trained.steps == 100


def test_a_rate_without_hope_ends_with_one_sentence(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match=rf"{MOST_ROLLBACKS} times at most.*precision fp32"):
        train(plan, tmp_path, 400, rate=1e6, optimizer="sgd")
    kept = load_checkpoint(tmp_path / "c.safetensors")
    assert len(kept.facts["incidents"]) == MOST_ROLLBACKS
    assert all(torch.isfinite(t).all() for t in kept.tensors.values())


@pytest.mark.parametrize("killed_at", [30, 65, 75, 95])
def test_killed_around_an_incident_it_ends_with_the_same_bits(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    """Killed before, during and after the steps that end in going back."""
    undisturbed = train(plan, tmp_path / "whole", 130, poison=(70,))
    save = room.save_checkpoint

    def write_until(checkpoint: object, path: Path) -> None:
        seen.append(1)
        if len(seen) == killed_at:
            save(checkpoint, path)  # type: ignore[arg-type]
            raise KeyboardInterrupt

    seen: list[int] = []
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(room, "CHECKPOINT_SECONDS", 0.0)
        patch.setattr(room, "save_checkpoint", write_until)
        train(plan, tmp_path / "killed", 130, poison=(70,))
    kept = load_checkpoint(tmp_path / "killed" / "c.safetensors")
    poison = () if kept.facts["incidents"] else (70,)
    again = train(plan, tmp_path / "killed", 130, poison=poison, resume=True)
    assert equal(again.trained, undisturbed.trained)
    assert again.trained.incidents == undisturbed.trained.incidents
