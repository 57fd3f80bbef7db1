"""What a training leaves: a bundle, and its figures in `metrics.json`."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

import medseg
from medseg.bundle import Bundle, Configuration, Provenance, save_bundle
from medseg.dataset.cost import parameter_count
from medseg.dataset.plan import Plan, save_plan
from medseg.files import atomic_folder, write_text
from medseg.inference.predict import Predictor
from medseg.specs.postprocess import PostprocessSpec
from medseg.training.afterwards import Tried, choose_steps, steps_to_try
from medseg.training.calibration import Calibrated, calibrate
from medseg.training.candidates import Choice, candidates_of, choose
from medseg.training.course import Trained
from medseg.training.footprint import Footprint, footprint, peak_memory_gb
from medseg.training.judge import Candidates
from medseg.training.judged import Judged, Judgement, OutOfFold
from medseg.training.log import LOG_FILE
from medseg.training.prepare import Run, Split
from medseg.training.run import RunFolder
from medseg.training.steady import Incident
from medseg.training.validation import mean_dice, volume_ranges_ml

HELD_OUT, TRAINED_ON = "cases that were held out", "training cases, for want of others"
SEEN_BEFORE = "cases that the bundle it started from may have seen"
SEEN_BY_TEACHER = "cases that the teacher may have seen"


@dataclass(frozen=True, eq=False)
class FoldOutcome:
    """What a fold leaves.

    Attributes:
        split: Who trained and who judged.
        trained: The network of each configuration.
        judged: What each candidate for the bundle did on the cases that judged.
        seconds: Time of this fold, validation included.
        memory_gb: Most memory that its process had held when it was done.
    """

    split: Split
    trained: Mapping[str, Trained]
    judged: Mapping[str, tuple[Judged, ...]]
    seconds: float
    memory_gb: float = field(default_factory=peak_memory_gb)


@dataclass(frozen=True, eq=False)
class _Verdict:
    """What the held-out cases said."""

    choice: Choice
    judgements: tuple[Judgement, ...]
    runs: tuple[Run, ...]
    steps: tuple[PostprocessSpec, ...]
    tried: tuple[Tried, ...]
    calibrated: Mapping[str, Calibrated]


def finish(
    folder: RunFolder, runs: Sequence[Run], folds: Sequence[FoldOutcome], *, at_once: int = 1
) -> Bundle:
    """Choose among the candidates, and write bundle and figures.

    Args:
        folder: The run.
        runs: Its configurations.
        folds: What each fold left.
        at_once: How many of them were trained at the same time, each in a process of its own.
    """
    verdict = _verdict(runs, folds)
    memory = footprint(max(run.prepared_gb for run in runs), _folds_gb(runs, folds), at_once)
    metrics = _metrics(verdict, runs, folds, memory)
    runs[0].progress.note(memory.sentence)
    first, *further = (_configuration(run, verdict, folds) for run in verdict.runs)
    run = verdict.runs[0]
    bundle = Bundle(
        plan=first.plan,
        provenance=_provenance(run, folds, verdict.judgements),
        members=first.members,
        metrics=_kept_metrics(metrics),
        volume_ranges_ml=volume_ranges_ml(run.store, _seen(run, folds), run.plan),
        temperature=first.temperature,
        postprocessing=verdict.steps,
        further=tuple(further),
        first_stage=first.first_stage,
    )
    if len(runs) > 1:
        _put_forward(folder, verdict)
    saved = save_bundle(bundle, folder.bundle)
    write_text(folder.metrics, json.dumps(metrics, indent=1) + "\n")
    return saved


def predictor_of(run: Run, weights: dict[str, Tensor], split: Split) -> Predictor:
    """A network of this run, ready to predict the cases that judge it.

    Before a cascade come those networks of its first stage that have not seen these cases either.
    """
    first_stage = None
    if run.first_stage is not None:
        first_stage = run.first_stage.only(run.first_stage.unaware_of(split.validation))
    bundle = Bundle(run.plan, _provenance(run, (), ()), (weights,), first_stage=first_stage)
    return Predictor(bundle, device=run.machine.device, precision=run.precision)


def steps_of(run: Run) -> tuple[PostprocessSpec, ...]:
    """Post-processing that is tried on held-out masks; none of regions, which overlap."""
    if run.plan.regions:
        return ()
    used = sorted({case for split in run.splits for case in (*split.training, *split.validation)})
    ranges = volume_ranges_ml(run.store, used, run.plan)
    return steps_to_try(run.plan.labels, ranges, instances=run.plan.instances)


def results_of(folder: RunFolder, candidates: Candidates) -> dict[str, OutOfFold]:
    """Where each candidate's masks are kept; the only one's are those of the bundle."""
    if len(candidates) == 1:
        return {name: folder.results() for name in candidates}
    return {name: folder.results(name) for name in candidates}


def _verdict(runs: Sequence[Run], folds: Sequence[FoldOutcome]) -> _Verdict:
    """Choose the winner, and what follows its networks. Nothing follows where none was held out."""
    candidates = candidates_of([run.name for run in runs])
    judgements = {
        name: tuple(one.judgement for fold in folds for one in fold.judged[name])
        for name in candidates
    }
    choice = choose(judgements, candidates)
    chosen = tuple(run for run in runs if run.name in candidates[choice.winner])
    won = judgements[choice.winner]
    if _measured_on(runs[0], folds) != HELD_OUT:
        return _Verdict(choice, won, chosen, (), (), {})
    steps, tried = choose_steps(won)
    doubts = {
        run.name: {
            fold.split.fold: [x.doubts for x in fold.judged[run.name] if x.doubts is not None]
            for fold in folds
        }
        for run in chosen
    }
    found = {name: calibrate(by_fold) for name, by_fold in doubts.items()}
    return _Verdict(
        choice, won, chosen, steps, tried, {name: c for name, c in found.items() if c is not None}
    )


def _configuration(run: Run, verdict: _Verdict, folds: Sequence[FoldOutcome]) -> Configuration:
    found = verdict.calibrated.get(run.name)
    members = tuple(fold.trained[run.name].weights for fold in folds)
    temperature = found.temperature if found else 1.0
    first_stage = run.first_stage.whole if run.first_stage else None
    return Configuration(run.plan, members, temperature, first_stage)


def _put_forward(folder: RunFolder, verdict: _Verdict) -> None:
    """Lay the winner's masks, plan and log where those of a single configuration lie."""
    with atomic_folder(folder.masks) as temporary:
        shutil.copytree(folder.results(verdict.choice.winner).masks, temporary, dirs_exist_ok=True)
    run = verdict.runs[0]
    save_plan(run.plan, folder.plan)
    log = run.folder.path / LOG_FILE
    if log.is_file():
        write_text(folder.path / LOG_FILE, log.read_text(encoding="utf-8"))


def _provenance(
    run: Run, folds: Sequence[FoldOutcome], judgements: Sequence[Judgement]
) -> Provenance:
    return Provenance(
        medseg_version=medseg.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        data_name=run.description.name,
        data_hash=run.plan.fingerprint_hash,
        data_licence=run.description.licence,
        seed=run.settings.seed,
        command=run.command,
        seconds=round(run.clock(), 1),
        steps=max((fold.trained[run.name].steps for fold in folds), default=0),
        device=run.machine.name,
        precision=run.precision,
        training_cases=_seen(run, folds),
        validation_cases=tuple(one.case for one in judgements),
        started_from=run.start.identity if run.start is not None else "",
        taught_by=run.guide.identity if run.guide is not None else "",
        data_version=run.description.data_version,
    )


def _metrics(
    verdict: _Verdict, runs: Sequence[Run], folds: Sequence[FoldOutcome], memory: Footprint
) -> dict[str, Any]:
    """The content of `metrics.json`. The Dice is that of the masks before post-processing."""
    run = verdict.runs[0]
    every = [(one, fold.trained[one.name]) for one in runs for fold in folds]
    training_seconds = sum(trained.training_seconds for _, trained in every)
    samples = sum(trained.steps * one.plan.recipe.batch_size for one, trained in every)
    metrics: dict[str, Any] = {
        "dice": mean_dice(verdict.judgements),
        "measured_on": _measured_on(run, folds),
        "cases": [one.model_dump(exclude={"trials"}) for one in verdict.judgements],
        "folds": [_fold_metrics(fold, one.name) for fold in folds for one in runs],
        "steps": sum(trained.steps for _, trained in every),
        "epochs": round(sum(trained.epochs for _, trained in every), 3),
        "samples": samples,
        "samples_per_second": round(samples / max(training_seconds, 1e-9), 3),
        "seconds": round(run.clock(), 1),
        "training_seconds": round(training_seconds, 1),
        "parameters": sum(parameter_count(plan.network) for plan in _plans(verdict.runs)),
        "precision": run.precision,
        "device": run.machine.name,
        "threads": torch.get_num_threads(),
        "peak_memory_gb": round(max(trained.memory_gb for _, trained in every), 3),
        "memory": memory.model_dump(),
        "postprocessing": [one.model_dump(mode="json") for one in verdict.tried],
        "calibration": {name: one.model_dump() for name, one in verdict.calibrated.items()},
    }
    if len(runs) > 1:
        metrics["choice"] = verdict.choice.model_dump()
    for one in runs:
        if one.first_stage is not None:
            metrics["first_stage"] = dict(one.first_stage.figures)
    return metrics


def _folds_gb(runs: Sequence[Run], folds: Sequence[FoldOutcome]) -> list[float]:
    """Most memory of each process that trained a fold; a first stage may have needed more."""
    before = max((run.first_stage.memory_gb for run in runs if run.first_stage), default=0.0)
    return [max(fold.memory_gb, before) for fold in folds]


def _plans(runs: Sequence[Run]) -> list[Plan]:
    """Of all stages that predict together."""
    first = [run.first_stage.plan for run in runs if run.first_stage is not None]
    return [run.plan for run in runs] + first


def _kept_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that a bundle keeps: of post-processing only what it does."""
    names = ("dice", "measured_on", "folds", "calibration", "choice", "first_stage")
    kept = {name: metrics[name] for name in names if metrics.get(name)}
    steps = [one for one in metrics["postprocessing"] if one["kept"]]
    return kept | ({"postprocessing": steps} if steps else {})


def _measured_on(run: Run, folds: Sequence[FoldOutcome]) -> str:
    if not all(fold.split.is_held_out for fold in folds):
        return TRAINED_ON
    if run.has_seen_validation:
        return SEEN_BEFORE
    return SEEN_BY_TEACHER if run.teacher_has_seen_validation else HELD_OUT


def _fold_metrics(fold: FoldOutcome, name: str) -> dict[str, Any]:
    trained = fold.trained[name]
    judgements = [one.judgement for one in fold.judged[name]]
    return {
        "fold": fold.split.fold,
        "configuration": name,
        "dice": mean_dice(judgements),
        "steps": trained.steps,
        "seconds": round(fold.seconds, 1),
        "training_cases": len(fold.split.training),
        "validation_cases": len(judgements),
        "incidents": [_incident(one) for one in trained.incidents],
        "stopped_early": trained.stopped_early,
    }


def _incident(incident: Incident) -> dict[str, Any]:
    return incident.model_dump() | {"sentence": incident.sentence}


def _seen(run: Run, folds: Sequence[FoldOutcome]) -> tuple[str, ...]:
    """Cases that any network trained on, that of a first stage included."""
    before = run.first_stage.seen if run.first_stage else ()
    seen = {name for fold in folds for name in fold.split.training}
    return tuple(sorted(seen.union(*before)))
