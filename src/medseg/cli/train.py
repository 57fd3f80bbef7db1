"""`medseg train`: a data set in, a bundle out, in the time that is given."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medseg.cli.console import EXIT_FAILED, Console, reporting
from medseg.cli.durations import seconds_of
from medseg.cli.processes import torchrun_place
from medseg.cli.training_options import Configs, Device, Precision, Preset, Resume, Seed, StopEarly

if TYPE_CHECKING:
    from medseg.bundle import Bundle
    from medseg.dataset.description import DatasetDescription
    from medseg.dataset.frame import Config, WantedConfig
    from medseg.dataset.plan import Plan
    from medseg.training.run import RunSettings
    from medseg.training.team import Place

_DEFAULT_BUDGET = "20m"

_CONFIGS: tuple["Config", ...] = ("2d", "3d_full", "3d_low")
"""All that `--config all` compares. A cascade would take two fifths of the time from them: it is
compared where it is named."""


def train(
    dataset: Annotated[Path, typer.Argument(help="A described data set, or any raw folder.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    budget: Annotated[
        str | None,
        typer.Option(help=f"Time of the whole command: 90s, 15m, 1h30m.  [{_DEFAULT_BUDGET}]"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the cases, instead of a budget.")
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(help="Kind of network; medseg networks lists them.  [plain_unet]"),
    ] = None,
    config: Configs = "auto",
    preset: Preset = None,
    folds: Annotated[
        str, typer.Option(help='Folds of five: "0,1" or "all"; without, one network.')
    ] = "",
    device: Device = "auto",
    precision: Precision = "auto",
    resume: Resume = False,
    seed: Seed = 0,
    plan: Annotated[Path | None, typer.Option(help="A plan.json to use.")] = None,
    start_from: Annotated[
        str | None,
        typer.Option(help="A bundle of the same kind of network, whose weights to start from."),
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(help="Also send curves there, such as sqlite:///runs.db.")
    ] = None,
    devices: Annotated[
        int, typer.Option(min=1, help="GPUs that share each batch, or processes on the CPU.")
    ] = 1,
    stop_early: StopEarly = False,
    skip_faulty: Annotated[
        bool, typer.Option("--skip-faulty", help="Leave faulty cases out, and list them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Train a network on a data set; leaves OUT/bundle, OUT/metrics.json and OUT/report.html."""
    if budget is not None and epochs is not None:
        raise typer.BadParameter("give --budget or --epochs, not both")
    seconds = None if epochs is not None else seconds_of(budget or _DEFAULT_BUDGET)
    chosen, (wanted, compare) = _folds(folds), _configs(config)
    with reporting(as_json=as_json) as console:
        from medseg.allocator import keep_freed_memory

        keep_freed_memory()
        place = torchrun_place()
        if place and place.rank > 0:
            _follow(place, device)
            return

        from medseg.bundle import load_bundle
        from medseg.dataset.plan import load_plan
        from medseg.training.run import RunFolder, RunSettings, arch_of

        given = load_plan(plan) if plan else None
        start = load_bundle(start_from) if start_from else None
        if start is not None and given is None:
            arch = arch or start.plan.network.kind
        settings = RunSettings(
            seconds=seconds, epochs=epochs, config=wanted, compare=compare, preset=preset,
            folds=chosen,
            arch=arch or arch_of(RunFolder(out), given, preset), device=device,
            precision=precision, seed=seed, devices=place.size if place else devices,
            stop_early=stop_early,
        )  # fmt: skip
        description = _opened(dataset, console, skip_faulty=skip_faulty)
        bundle = _trained(
            description, out, settings, given, start, mlflow, console, place, resume=resume
        )  # fmt: skip
        _report(bundle, out, console)


def _trained(
    description: "DatasetDescription",
    out: Path,
    settings: "RunSettings",
    plan: "Plan | None",
    start: "Bundle | None",
    mlflow: str | None,
    console: Console,
    place: "Place | None",
    *,
    resume: bool,
) -> "Bundle":
    from medseg.training.crossval import train as train_on
    from medseg.training.log import MlflowTracker
    from medseg.training.schedule import command_clock

    trackers = (
        (MlflowTracker(mlflow, experiment=description.name, settings=settings.model_dump()),)
        if mlflow
        else ()
    )
    return train_on(
        description,
        out,
        settings,
        plan=plan,
        start=start,
        resume=resume,
        clock=command_clock(command_age()),
        trackers=trackers,
        command=shlex.join(["medseg", *sys.argv[1:]]),
        place=place,
        progress=console.progress,
    )


def _follow(place: "Place", device: Literal["auto", "cpu", "cuda"]) -> None:
    """Learn as another than the first process; what goes wrong, that one says."""
    from medseg.errors import LostProcess
    from medseg.training.followers import follow
    from medseg.training.probe import choose_device

    try:
        follow(place, cuda=choose_device(device) == "cuda")
    except LostProcess:
        raise typer.Exit(EXIT_FAILED) from None


def command_age() -> float:
    """Seconds since this process began: a budget counts from there."""
    import time

    import psutil

    return max(0.0, time.time() - float(psutil.Process().create_time()))


def _opened(dataset: Path, console: Console, *, skip_faulty: bool) -> "DatasetDescription":
    """The data set, without its faulty cases if they are to be skipped."""
    from medseg.dataset.importers import open_dataset
    from medseg.dataset.manifest import with_version

    description = with_version(open_dataset(dataset), dataset, progress=console.progress)
    for note in description.notes:
        console.progress.note(note)
    if not skip_faulty:
        return description
    from medseg.dataset.checks import check_dataset, without_faulty

    faults = check_dataset(description, dataset, progress=console.progress)
    kept = without_faulty(description, faults)
    rows = [[fault.case, fault.kind, fault.what] for fault in faults if fault.severity == "error"]
    if rows:
        console.table("Left out", ["case", "fault", "what was found"], rows)
    return kept


def _folds(text: str) -> tuple[int, ...]:
    """Numbers of folds from "all" or "0,2,4"."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words == ["all"]:
        return (0, 1, 2, 3, 4)
    if not all(word in {"0", "1", "2", "3", "4"} for word in words) or len(set(words)) < len(words):
        raise typer.BadParameter(f'folds are written like 0,2,4 or all, not "{text}"')
    return tuple(int(word) for word in words)


def _configs(text: str) -> tuple["WantedConfig", tuple["Config", ...]]:
    """One configuration, or several that are compared, from "auto", "2d,3d_full" or "all"."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words == ["all"]:
        return "auto", _CONFIGS
    known: dict[str, Config] = {name: name for name in (*_CONFIGS, "cascade")}
    if words == ["auto"]:
        return "auto", ()
    if not words or len(set(words)) < len(words) or not set(words) <= set(known):
        raise typer.BadParameter(
            f'configurations are auto, all, or some of {", ".join(known)}, not "{text}"'
        )
    if len(words) == 1:
        return known[words[0]], ()
    return "auto", tuple(known[word] for word in words)


def _report(bundle: "Bundle", out: Path, console: Console) -> None:
    """Write the page of the run and say how it went."""
    from medseg.report.pages.training_page import write_training_report

    page = write_training_report(out)
    dice: dict[str, float | None] = bundle.metrics["dice"]
    shown = [[name, "-" if value is None else f"{value:.4f}"] for name, value in dice.items()]
    cases = len(bundle.provenance.validation_cases)
    console.say(f"Dice on {bundle.metrics['measured_on']} (n = {cases}):")
    console.table("", ["structure", "Dice"], shown)
    for sentence in _choices(bundle):
        console.say(sentence)
    console.say(f"Bundle:  {out / 'bundle'}\nFigures: {out / 'metrics.json'}\nReport:  {page}")
    facts: dict[str, Any] = {
        "bundle": str(out / "bundle"),
        "metrics": str(out / "metrics.json"),
        "report": str(page),
        "dice": dice,
        "seconds": bundle.provenance.seconds,
        "steps": bundle.provenance.steps,
        "configurations": [one.plan.config for one in bundle.configurations],
        "postprocessing": [step.model_dump() for step in bundle.postprocessing],
    }
    console.result(facts)


def _choices(bundle: "Bundle") -> list[str]:
    """What held-out cases decided: which configurations, and what follows them."""
    choice = bundle.metrics.get("choice")
    steps = [f"Kept because it helped: {step.sentence}" for step in bundle.postprocessing]
    return ([f"Chosen: {choice['why']}"] if choice else []) + steps
