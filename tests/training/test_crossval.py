"""The laws of a training: same seed same bits, killed and resumed nothing lost, ends on time."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from medseg.bundle import Bundle, load_bundle
from medseg.dataset.description import (
    DatasetDescription,
    read_case,
    read_case_label,
    save_description,
)
from medseg.dataset.plan import Plan, save_plan
from medseg.errors import (
    BudgetTooShort,
    CannotResume,
    PlanError,
    TrainingError,
    TrainingStopped,
)
from medseg.inference.predict import Predictor
from medseg.metrics.paired import Gain
from medseg.progress import Silent
from medseg.specs import AugmentSpec, MirrorSpec
from medseg.training import fit, fold
from medseg.training.checkpoint import load_checkpoint
from medseg.training.crossval import train
from medseg.training.judge import Panel
from medseg.training.module import Learner
from medseg.training.run import RunSettings
from medseg.volume.io import read_label_map

EPOCHS = RunSettings(epochs=6, precision="fp32", device="cpu")


class Ticking:
    """A clock that goes on by a little at each look: time passes, but nobody waits."""

    def __init__(self, tick: float) -> None:
        self.now, self.tick = 0.0, tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


def same_weights(a: Bundle, b: Bundle) -> bool:
    def equal(x: Mapping[str, Tensor], y: Mapping[str, Tensor]) -> bool:
        return x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)

    return len(a.members) == len(b.members) and all(map(equal, a.members, b.members))


@pytest.fixture(autouse=True)
def _alone_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(fold, "_load", lambda _machine: lambda: 1.0)


@pytest.fixture
def undisturbed(blobs: DatasetDescription, plan: Plan, tmp_path: Path) -> Bundle:
    return train(blobs, tmp_path / "undisturbed", EPOCHS, plan=plan)


def test_a_run_leaves_bundle_figures_and_curves(undisturbed: Bundle, tmp_path: Path) -> None:
    run = tmp_path / "undisturbed"
    figures = json.loads((run / "metrics.json").read_text())
    assert set(figures["dice"]) == {"core", "shell", "mean"}
    assert figures["measured_on"] == "cases that were held out"
    assert (figures["steps"], figures["samples"]) == (21, 42)
    assert [score["case"] for score in figures["cases"]] == list(
        undisturbed.provenance.validation_cases
    )
    assert not set(undisturbed.provenance.validation_cases) & set(
        undisturbed.provenance.training_cases
    )
    assert undisturbed.provenance.data_licence == "CC0-1.0"
    low, high = undisturbed.volume_ranges_ml["shell"]
    assert 0.2 < low < high < 0.5
    assert same_weights(load_bundle(run), undisturbed)
    assert (run / "log.csv").read_text().count("\n") >= 2
    assert list((run / "tensorboard").rglob("events.*"))


def test_seed_decides_every_bit(
    undisturbed: Bundle, blobs: DatasetDescription, plan: Plan, tmp_path: Path
) -> None:
    again = train(blobs, tmp_path / "again", EPOCHS, plan=plan)
    other = train(blobs, tmp_path / "other", EPOCHS.model_copy(update={"seed": 1}), plan=plan)
    assert same_weights(undisturbed, again)
    assert not same_weights(undisturbed, other)


_KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from medseg.dataset.description import load_description
from medseg.dataset.plan import load_plan
from medseg.training import fit
from medseg.training.crossval import train
from medseg.training.module import Learner
from medseg.training.run import RunSettings

torch.set_num_threads(1)
home = Path(sys.argv[1])
fit.CHECKPOINT_SECONDS = 0.0
write = fit.save_checkpoint

def write_or_die(checkpoint, path):
    if checkpoint.step == 9:
        (path.parent / ".partial-half").write_bytes(b"half a checkpoint")
        os.kill(os.getpid(), signal.SIGKILL)
    write(checkpoint, path)

fit.save_checkpoint = write_or_die
settings = RunSettings.model_validate_json(sys.argv[2])
train(load_description(home), home / "run", settings, plan=load_plan(home / "given.json"))
"""


def test_killed_and_resumed_it_ends_with_the_same_bits(
    undisturbed: Bundle, blobs: DatasetDescription, plan: Plan, tmp_path: Path
) -> None:
    save_description(blobs, tmp_path)
    save_plan(plan, tmp_path / "given.json")
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path), EPOCHS.model_dump_json()], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert load_checkpoint(tmp_path / "run/checkpoint/fold_0.safetensors").step == 8
    resumed = train(blobs, tmp_path / "run", EPOCHS, resume=True)
    assert resumed.provenance.steps == 21
    assert same_weights(resumed, undisturbed)


def test_asked_to_stop_it_keeps_all_and_goes_on(
    undisturbed: Bundle,
    blobs: DatasetDescription,
    plan: Plan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = Learner.step

    def interrupted(learner: Learner, *words: object) -> object:
        if learner.steps == 5:
            signal.raise_signal(signal.SIGINT)
        return step(learner, *words)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", interrupted)
        with pytest.raises(TrainingStopped, match=r"after 6 steps.*--resume"):
            train(blobs, tmp_path / "run", EPOCHS, plan=plan)
    assert same_weights(train(blobs, tmp_path / "run", EPOCHS, resume=True), undisturbed)


@pytest.mark.parametrize("tick", [0.02, 0.05])
def test_a_budget_is_kept_to_by_any_clock(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path, tick: float
) -> None:
    clock = Ticking(tick)
    settings = RunSettings(seconds=20, precision="fp32", device="cpu")
    bundle = train(blobs, tmp_path / "run", settings, plan=plan, clock=clock)
    left = fold.FINISH_SECONDS + 0.05 * 20
    assert 20 - left - 1 <= clock.now <= 20
    assert bundle.provenance.steps > 10
    last = (tmp_path / "run/log.csv").read_text().splitlines()[-1].split(",")
    share, rate = float(last[4]), float(last[5])
    assert share > 0.9
    assert rate < 0.1 * plan.recipe.learning_rate


def test_time_spent_before_an_interruption_counts(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = RunSettings(seconds=20, precision="fp32", device="cpu")
    save = fit._Loop.save

    def interrupted(loop: fit._Loop, *, finished: bool) -> None:
        save(loop, finished=finished)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fit._Loop, "save", interrupted)
        patch.setattr(fit, "CHECKPOINT_SECONDS", 5.0)
        train(blobs, tmp_path / "run", settings, plan=plan, clock=Ticking(0.05))
    before = load_checkpoint(tmp_path / "run/checkpoint/fold_0.safetensors")
    clock = Ticking(0.05)
    bundle = train(blobs, tmp_path / "run", settings, resume=True, clock=clock)
    assert 4 < before.command_seconds < 10
    assert clock.now + before.command_seconds <= 20
    assert bundle.provenance.steps > before.step


def test_folds_share_the_budget(blobs: DatasetDescription, plan: Plan, tmp_path: Path) -> None:
    clock = Ticking(0.05)
    settings = RunSettings(seconds=30, folds=(1, 3), precision="fp32", device="cpu")
    bundle = train(blobs, tmp_path / "run", settings, plan=plan, clock=clock)
    first, second = bundle.metrics["folds"]
    assert 30 - fold.FINISH_SECONDS - 3 <= clock.now <= 30
    assert (first["fold"], second["fold"]) == (1, 3)
    assert first["seconds"] == pytest.approx(second["seconds"], rel=0.2)


def test_all_folds_judge_every_case_once(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path
) -> None:
    settings = RunSettings(epochs=1, folds=(0, 1, 2, 3, 4), precision="fp32", device="cpu")
    bundle = train(blobs, tmp_path / "run", settings, plan=plan)
    figures = json.loads((tmp_path / "run/metrics.json").read_text())
    everyone = [case.id for case in blobs.cases]
    assert sorted(score["case"] for score in figures["cases"]) == everyone
    assert len(load_bundle(tmp_path / "run").members) == 5
    assert not same_weights(
        replace(bundle, members=bundle.members[1:]), replace(bundle, members=bundle.members[:-1])
    )


def test_masks_of_held_out_cases_are_kept_and_score_what_was_said(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path
) -> None:
    settings = RunSettings(epochs=2, folds=(0, 1, 2, 3, 4), precision="fp32", device="cpu")
    bundle = train(blobs, tmp_path / "run", settings, plan=plan)
    figures = json.loads((tmp_path / "run/metrics.json").read_text())
    masks = sorted(path.name for path in (tmp_path / "run/out_of_fold").iterdir())
    assert masks == sorted(f"{case.id}.nii.gz" for case in blobs.cases)
    for row in figures["cases"]:
        predicted = read_label_map(tmp_path / f"run/out_of_fold/{row['case']}.nii.gz")
        reference = read_case_label(blobs, blobs.case(row["case"]))
        for label in blobs.labels:
            one, other = predicted.array == label.value, reference.array == label.value
            dice = 2 * (one & other).sum() / max(1, one.sum() + other.sum())
            assert dice == pytest.approx(row["dice"][label.name] or 0.0)
    assert {one["n"] for one in figures["postprocessing"]} == {8}
    assert not any(one["kept"] for one in figures["postprocessing"])
    (found,) = figures["calibration"].values()
    assert found["nll_after"] <= found["nll_before"] or found["temperature"] == 1.0
    assert bundle.temperature == found["temperature"]
    assert load_bundle(tmp_path / "run").temperature == bundle.temperature


def test_a_resumed_run_judges_no_case_twice(
    undisturbed: Bundle,
    blobs: DatasetDescription,
    plan: Plan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "undisturbed"
    (run / "metrics.json").unlink()

    def judge(*_: object) -> None:
        raise AssertionError("it is judged already")

    monkeypatch.setattr(Panel, "judge", judge)
    resumed = train(blobs, run, EPOCHS, resume=True)
    assert same_weights(resumed, undisturbed)
    assert resumed.metrics["dice"] == undisturbed.metrics["dice"]
    assert resumed.temperature == undisturbed.temperature


COMPARED = RunSettings(
    epochs=2, compare=("2d", "3d_full", "3d_low"), folds=(0, 2), precision="fp32", device="cpu"
)


def test_several_configurations_end_in_one_bundle(
    blobs: DatasetDescription, tmp_path: Path
) -> None:
    notes: list[str] = []

    class Listening(Silent):
        def note(self, message: str) -> None:
            notes.append(message)

    bundle = train(blobs, tmp_path / "run", COMPARED, progress=Listening())
    assert any(note.startswith("3d_low is left out") for note in notes)
    figures = json.loads((tmp_path / "run/metrics.json").read_text())
    rated = {one["name"]: one for one in figures["choice"]["candidates"]}
    assert set(rated) == {"2d", "3d_full", "2d+3d_full"}
    winner = rated[figures["choice"]["winner"]]
    assert winner["chosen"]
    assert [one.plan.config for one in bundle.configurations] == winner["configurations"]
    assert all(len(one.members) == 2 for one in bundle.configurations)
    assert sorted(path.name for path in (tmp_path / "run/out_of_fold").iterdir()) == sorted(
        f"{row['case']}.nii.gz" for row in figures["cases"]
    )
    assert [(one["fold"], one["configuration"]) for one in figures["folds"]] == [
        (0, "2d"), (0, "3d_full"), (2, "2d"), (2, "3d_full")
    ]  # fmt: skip
    again = load_bundle(tmp_path / "run")
    assert same_weights(again, bundle)
    (tmp_path / "run/metrics.json").unlink()
    resumed = train(blobs, tmp_path / "run", COMPARED, resume=True)
    assert same_weights(resumed, bundle)


def test_two_configurations_together_win_where_they_are_better(
    blobs: DatasetDescription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gain, "is_better", lambda gain, _p: gain.n > 0)
    two = COMPARED.model_copy(update={"compare": ("2d", "3d_full"), "folds": (0, 2)})
    bundle = train(blobs, tmp_path / "run", two)
    assert [one.plan.config for one in bundle.configurations] == ["2d", "3d_full"]
    loaded = load_bundle(tmp_path / "run")
    assert len(loaded.configurations) == 2
    prediction = Predictor(loaded).predict(read_case(blobs, blobs.cases[0]))
    assert prediction.label_map.geometry.grid_size == (14, 12, 10)


def test_a_plan_for_several_configurations_is_refused(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"plan and weights of its own.*--plan"):
        train(blobs, tmp_path / "run", COMPARED, plan=plan)


def test_few_cases_are_judged_by_those_who_trained_and_it_says_so(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path
) -> None:
    few = blobs.model_copy(update={"cases": blobs.cases[:3]})
    bundle = train(few, tmp_path / "run", EPOCHS, plan=plan)
    assert "training cases" in bundle.metrics["measured_on"]
    assert len(bundle.provenance.training_cases) == 3


def test_it_overfits_a_tiny_data_set(blobs: DatasetDescription, plan: Plan, tmp_path: Path) -> None:
    few = blobs.model_copy(update={"cases": blobs.cases[:2]})
    unvaried = {name: 0.0 for name in AugmentSpec.model_fields if name.endswith("_probability")}
    still = plan.model_copy(update={"augment": AugmentSpec(**unvaried, mirror=MirrorSpec())})
    settings = EPOCHS.model_copy(update={"epochs": 240})
    dice = train(few, tmp_path / "run", settings, plan=still).metrics["dice"]
    assert dice["mean"] > 0.9


def test_too_short_a_budget_is_refused(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path
) -> None:
    settings = RunSettings(seconds=2, precision="fp32", device="cpu")
    with pytest.raises(BudgetTooShort, match="Give --budget"):
        train(blobs, tmp_path / "run", settings, plan=plan, clock=Ticking(0.5))


def test_a_folder_belongs_to_one_run(
    undisturbed: Bundle, blobs: DatasetDescription, plan: Plan, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="--resume"):
        train(blobs, tmp_path / "undisturbed", EPOCHS, plan=plan)
    with pytest.raises(CannotResume, match="seed 3 instead of 0"):
        train(blobs, tmp_path / "undisturbed", EPOCHS.model_copy(update={"seed": 3}), resume=True)
    assert same_weights(train(blobs, tmp_path / "undisturbed", EPOCHS, resume=True), undisturbed)


def test_nothing_to_resume_is_refused(blobs: DatasetDescription, tmp_path: Path) -> None:
    with pytest.raises(CannotResume, match="no run in"):
        train(blobs, tmp_path / "run", EPOCHS, resume=True)


def test_another_plan_is_refused_on_resume(
    undisturbed: Bundle, blobs: DatasetDescription, plan: Plan, tmp_path: Path
) -> None:
    (tmp_path / "undisturbed/metrics.json").unlink()
    other = plan.model_copy(update={"patch_size": (8, 8, 4)})
    with pytest.raises(CannotResume, match="another --plan"):
        train(blobs, tmp_path / "undisturbed", EPOCHS, plan=other, resume=True)


def test_a_plan_for_other_data_is_refused(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path
) -> None:
    other = plan.model_copy(update={"labels": plan.labels[:1]})
    with pytest.raises(TrainingError, match="same channels, labels and regions"):
        train(blobs, tmp_path / "run", EPOCHS, plan=other)


def test_unknown_network_is_refused_with_the_known_names(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path
) -> None:
    settings = EPOCHS.model_copy(update={"arch": "resnet"})
    with pytest.raises(PlanError, match="plain_unet"):
        train(blobs, tmp_path / "run", settings, plan=plan)
    assert not (tmp_path / "run").exists()
