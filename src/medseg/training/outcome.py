"""What a training leaves: a bundle, and its figures in `metrics.json`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

import medseg
from medseg.bundle import Bundle, Provenance, save_bundle
from medseg.files import write_text
from medseg.inference.predict import Predictor
from medseg.networks.build import build
from medseg.specs import NetworkSpec
from medseg.training.fit import Trained
from medseg.training.prepare import Run, Split
from medseg.training.validation import CaseDice, mean_dice, volume_ranges_ml

HELD_OUT, TRAINED_ON = "cases that were held out", "training cases, for want of others"
SEEN_BEFORE = "cases that the bundle it started from may have seen"


@dataclass(frozen=True, eq=False)
class Member:
    """One trained network and how it did.

    Attributes:
        split: Who trained it and who judged.
        trained: What the loop left.
        scores: Of the cases that judged.
        seconds: Time of this fold, validation included.
    """

    split: Split
    trained: Trained
    scores: tuple[CaseDice, ...]
    seconds: float


def finish(run: Run, members: Sequence[Member]) -> Bundle:
    """Write bundle and figures."""
    metrics = _metrics(run, members)
    bundle = Bundle(
        plan=run.plan,
        provenance=_provenance(run, members),
        members=tuple(member.trained.weights for member in members),
        metrics={name: metrics[name] for name in ("dice", "measured_on", "folds")},
        volume_ranges_ml=volume_ranges_ml(run.store, _seen(members), run.plan),
    )
    saved = save_bundle(bundle, run.folder.bundle)
    write_text(run.folder.metrics, json.dumps(metrics, indent=1) + "\n")
    return saved


def predictor_of(run: Run, weights: dict[str, Tensor]) -> Predictor:
    """A network of this run, ready to predict."""
    bundle = Bundle(run.plan, _provenance(run, ()), (weights,))
    return Predictor(bundle, device=run.machine.device, precision=run.precision)


def _provenance(run: Run, members: Sequence[Member]) -> Provenance:
    return Provenance(
        medseg_version=medseg.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        data_name=run.description.name,
        data_hash=run.plan.fingerprint_hash,
        data_licence=run.description.licence,
        seed=run.settings.seed,
        command=run.command,
        seconds=round(run.clock(), 1),
        steps=max((member.trained.steps for member in members), default=0),
        device=run.machine.name,
        precision=run.precision,
        training_cases=_seen(members),
        validation_cases=tuple(score.case for m in members for score in m.scores),
        started_from=run.start.identity if run.start is not None else "",
    )


def _metrics(run: Run, members: Sequence[Member]) -> dict[str, Any]:
    """The content of `metrics.json`."""
    scores = [score for member in members for score in member.scores]
    steps = sum(member.trained.steps for member in members)
    training_seconds = sum(member.trained.training_seconds for member in members)
    samples = steps * run.plan.recipe.batch_size
    return {
        "dice": mean_dice(scores),
        "measured_on": _measured_on(run, members),
        "cases": [score.model_dump() for score in scores],
        "folds": [_fold_metrics(member) for member in members],
        "steps": steps,
        "epochs": round(sum(member.trained.epochs for member in members), 3),
        "samples": samples,
        "samples_per_second": round(samples / max(training_seconds, 1e-9), 3),
        "seconds": round(run.clock(), 1),
        "training_seconds": round(training_seconds, 1),
        "parameters": _parameter_count(run.plan.network),
        "precision": run.precision,
        "device": run.machine.name,
        "threads": torch.get_num_threads(),
        "peak_memory_gb": round(max(member.trained.memory_gb for member in members), 3),
    }


def _measured_on(run: Run, members: Sequence[Member]) -> str:
    if not all(member.split.is_held_out for member in members):
        return TRAINED_ON
    return SEEN_BEFORE if run.has_seen_validation else HELD_OUT


def _parameter_count(spec: NetworkSpec) -> int:
    """How many numbers the network learns; it is built without memory to be counted."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in build(spec).parameters())


def _fold_metrics(member: Member) -> dict[str, Any]:
    return {
        "fold": member.split.fold,
        "dice": mean_dice(member.scores),
        "steps": member.trained.steps,
        "seconds": round(member.seconds, 1),
        "training_cases": len(member.split.training),
        "validation_cases": len(member.scores),
    }


def _seen(members: Sequence[Member]) -> tuple[str, ...]:
    """Cases that any member trained on."""
    return tuple(sorted({name for member in members for name in member.split.training}))
