"""A training that starts from a bundle: what it takes, what it says and what it refuses."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from medseg.bundle import Bundle, Provenance, load_bundle, save_bundle
from medseg.dataset.description import DatasetDescription
from medseg.dataset.plan import Plan
from medseg.errors import BundleError, CannotResume
from medseg.networks import build
from medseg.specs.mednext import MedNeXtSpec
from medseg.training.crossval import train
from medseg.training.outcome import HELD_OUT, SEEN_BEFORE
from medseg.training.run import RunSettings

ONCE = RunSettings(epochs=1, device="cpu", precision="fp32")


class Notes:
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def task(self, name: str, total: int) -> Iterator["Notes"]:
        yield self

    def advance(self, count: int = 1, **facts: object) -> None:
        pass


def small_mednext(kernel: int) -> MedNeXtSpec:
    return MedNeXtSpec(
        dims=3, in_channels=1, classes=3, width=4, strides=((2, 2, 2),), blocks=(1, 1, 1),
        expansions=(2, 2, 2), kernel=kernel,
    )  # fmt: skip


def bundle_of(plan: Plan, folder: Path, *, cases: tuple[str, ...] = ()) -> Bundle:
    torch.manual_seed(7)
    origin = Provenance(
        medseg_version="0", created="2026-01-01T00:00:00Z", data_name="Blobs", data_hash="0",
        seed=0, training_cases=cases,
    )  # fmt: skip
    return save_bundle(Bundle(plan, origin, (build(plan.network).state_dict(),)), folder)


def standing_still(plan: Plan) -> Plan:
    """Steps so small that what was started from is still there afterwards."""
    recipe = plan.recipe.model_copy(
        update={"learning_rate": 1e-12, "muon_learning_rate": 1e-12, "ema_decay": 0.0}
    )
    return plan.model_copy(update={"recipe": recipe})


def test_large_kernels_start_from_a_bundle_of_small_ones(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path
) -> None:
    small = bundle_of(plan.model_copy(update={"network": small_mednext(3)}), tmp_path / "small")
    large = standing_still(plan.model_copy(update={"network": small_mednext(5)}))
    settings = ONCE.model_copy(update={"arch": "mednext"})
    notes = Notes()
    bundle = train(blobs, tmp_path / "run", settings, plan=large, start=small, progress=notes)
    name = "encoder.0.0.depthwise.weight"
    before, after = small.members[0], bundle.members[0]
    grown = torch.nn.functional.interpolate(before[name], size=(5, 5, 5), mode="trilinear")
    torch.testing.assert_close(after[name], grown, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(after["stem.weight"], before["stem.weight"], atol=1e-5, rtol=1e-4)
    assert f"Weights start from {small.identity}." in notes.notes
    assert load_bundle(tmp_path / "run").provenance.started_from == small.identity
    card = (tmp_path / "run" / "bundle" / "model_card.md").read_text()
    assert f"Started from the weights of Blobs {small.weights_sha256[:12]}" in card


def test_a_head_for_other_classes_is_drawn_anew_and_said(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path
) -> None:
    facts = plan.model_dump() | {"labels": plan.model_dump()["labels"][:1]}
    facts["network"]["classes"] = 2
    start = bundle_of(Plan.model_validate(facts), tmp_path / "start")
    notes = Notes()
    bundle = train(
        blobs, tmp_path / "run", ONCE, plan=standing_still(plan), start=start, progress=notes
    )
    (said,) = [note for note in notes.notes if note.startswith("Weights start from")]
    assert "drawn anew for 3 classes: heads.0.weight, heads.0.bias" in said
    encoder = next(name for name in bundle.members[0] if name.startswith("encoder"))
    torch.testing.assert_close(
        bundle.members[0][encoder], start.members[0][encoder], atol=1e-5, rtol=1e-4
    )


def test_what_does_not_fit_is_refused_before_anything_is_written(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path
) -> None:
    start = bundle_of(plan.model_copy(update={"network": small_mednext(3)}), tmp_path / "start")
    with pytest.raises(BundleError, match="starts from one of its own kind"):
        train(blobs, tmp_path / "run", ONCE, plan=plan, start=start)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("seen", "measured_on"), [(False, HELD_OUT), (True, SEEN_BEFORE)])
def test_dice_on_cases_that_the_start_has_seen_is_not_called_held_out(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path, seen: bool, measured_on: str
) -> None:
    cases = tuple(case.id for case in blobs.cases) if seen else ()
    start = bundle_of(plan, tmp_path / "start", cases=cases)
    notes = Notes()
    bundle = train(blobs, tmp_path / "run", ONCE, plan=plan, start=start, progress=notes)
    assert bundle.metrics["measured_on"] == measured_on
    assert any("may have trained on cases that judge" in note for note in notes.notes) == seen


def test_a_run_goes_on_with_the_start_that_it_began_with(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path
) -> None:
    start = bundle_of(plan, tmp_path / "start")
    train(blobs, tmp_path / "run", ONCE, plan=plan, start=start)
    train(blobs, tmp_path / "run", ONCE, plan=plan, start=start, resume=True)
    with pytest.raises(CannotResume, match="start drawn weights instead of Blobs"):
        train(blobs, tmp_path / "run", ONCE, plan=plan, resume=True)
