"""`medseg loop`: from new labels to a better bundle in use, or to a refusal with its reasons."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medseg.cli.console import EXIT_FAILED, Console, reporting
from medseg.cli.durations import seconds_of
from medseg.cli.training_options import Device, Precision, Seed

if TYPE_CHECKING:
    from medseg.continual.loop_state import LoopState
    from medseg.continual.promotion import PromotionRule

app = typer.Typer(
    help="Close the loop: new labels, a candidate, a verdict by a written rule; and go back.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Bundles = Annotated[Path, typer.Option("--bundles", help="Folder of bundles, one of them in use.")]
_Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]
_Why = Annotated[str, typer.Option("--why", help="The reason, for the history.")]

_DEFAULT_BUDGET = "10m"


@app.command("run")
def run(
    data: Annotated[Path, typer.Option(help="Data set with versions that labels go into.")],
    bundles: _Bundles,
    test: Annotated[
        Path, typer.Option(help="Frozen test set of the old domain; no case of it is in DATA.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the loop.")],
    labels: Annotated[
        Path | None, typer.Option(help="Folder of new labels; may be given later, with --resume.")
    ] = None,
    pool: Annotated[
        list[Path] | None,
        typer.Option(help="Images of the new domain; repeatable. Those of new labels are copied."),
    ] = None,
    new_test: Annotated[
        Path | None,
        typer.Option(help="Test set of the new domain.  [a share of the new cases]"),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="Drift baseline: without an alarm the loop ends.")
    ] = None,
    count: Annotated[int, typer.Option("-n", min=1, help="Cases to choose from the pool.")] = 15,
    strategy: Annotated[
        Literal["random", "diverse", "entropy", "bald", "mirror", "coreset", "mixed"],
        typer.Option(help="How they are chosen; see medseg select."),
    ] = "diverse",
    budget: Annotated[
        str | None, typer.Option(help=f"Time of the training: 90s, 15m.  [{_DEFAULT_BUDGET}]")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over its cases, instead of a budget.")
    ] = None,
    replay: Annotated[
        float, typer.Option(min=0, help="Old cases learned from again, for each new one.")
    ] = 4.0,
    rate: Annotated[
        float,
        typer.Option(min=0.001, max=1, help="Share of the learning rate of the bundle in use."),
    ] = 0.3,
    rule: Annotated[Path | None, typer.Option(help="JSON file with the rule of promotion.")] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    seed: Seed = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the loop that lies in --out.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Take labels, make a version, train from the bundle in use, compare, and promote or keep."""
    if budget is not None and epochs is not None:
        raise typer.BadParameter("give --budget or --epochs, not both")
    seconds = None if epochs is not None else seconds_of(budget or _DEFAULT_BUDGET)
    with reporting(as_json=as_json) as console:
        from medseg.allocator import keep_freed_memory

        keep_freed_memory()

        from medseg.continual.loop import run_loop
        from medseg.continual.loop_state import settings_of

        settings = settings_of(
            data=data, bundles=bundles, test=test, pool=tuple(pool or ()), labels=labels,
            new_test=new_test, baseline=baseline, count=count, strategy=strategy, replay=replay,
            seconds=seconds, epochs=epochs, learning_rate_share=rate, device=device,
            precision=precision, seed=seed, rule=_rule(rule),
        )  # fmt: skip
        state = run_loop(
            settings, out, resume=resume, command=shlex.join(["medseg", *sys.argv[1:]]),
            progress=console.progress,
        )  # fmt: skip
        _report(console, state, out)


def _rule(file: Path | None) -> "PromotionRule":
    """The rule of a file, or ours.

    Raises:
        LoopError: If the file is none.
    """
    from pydantic import ValidationError

    from medseg.continual.promotion import PromotionRule
    from medseg.errors import LoopError, MissingPath

    if file is None:
        return PromotionRule()
    if not file.is_file():
        raise MissingPath("A rule is a JSON file.", received=f"nothing at {file}")
    try:
        return PromotionRule.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise LoopError(
            f"{file} must be a rule of promotion.",
            received=f"{place}: {first['msg']}",
            cure=f"Its fields are {', '.join(PromotionRule.model_fields)}.",
        ) from error


def _report(console: Console, state: "LoopState", out: Path) -> None:
    """What came of it, for people and for machines."""
    for line in _told(state, out):
        console.say(line)
    verdict = state.decide
    console.result(
        {
            "out": str(out),
            "status": _status(state),
            "alarm": state.drift.alarm if state.drift else None,
            "to_label": list(state.select.cases) if state.select else [],
            "version": state.labels.version if state.labels else None,
            "verdict": verdict.model_dump(mode="json") if verdict else None,
            "in_use": state.promote.bundle if state.promote else state.start,
        }
    )


def _status(state: "LoopState") -> str:
    if state.is_quiet:
        return "no alarm"
    if state.is_waiting:
        return "waiting for labels"
    return "promoted" if state.decide and state.decide.promote else "kept"


def _told(state: "LoopState", out: Path) -> list[str]:
    """The outcome, a line for each fact."""
    lines = []
    if state.drift is not None and state.drift.alarm:
        moved = ", ".join(state.drift.moved[:3])
        lines.append(f"The data changed, since {state.drift.since}: {moved}.")
    if state.is_quiet:
        return ["The data are what the bundle in use knows: nothing to do."]
    if state.is_waiting:
        cases = state.select.cases if state.select else ()
        return [
            *lines,
            f"{len(cases)} cases to label, with masks to correct: {out / 'worklist'}",
            "Then go on: the same command with --resume --labels FOLDER",
        ]
    if state.labels is not None:
        found = state.labels
        lines.append(
            f"{len(found.new)} new labels: {len(found.learning)} to learn from beside "
            f"{len(found.replayed)} old cases, {len(found.judging)} to judge by."
        )
    if state.decide is not None:
        lines += [change.sentence for change in state.decide.changes]
        lines.append("Promoted." if state.decide.promote else "Kept the bundle in use.")
        lines += list(state.decide.why)
    if state.promote is not None:
        lines.append(f"In use: {state.promote.bundle}")
    return lines


@app.command("promote")
def promote(
    bundle: Annotated[str, typer.Argument(help="Name of a bundle in the box, or its folder.")],
    bundles: _Bundles,
    why: _Why = "",
    as_json: _Json = False,
) -> None:
    """Put a bundle in use by hand; the first one begins a folder of bundles."""
    with reporting(as_json=as_json) as console:
        from medseg.bundle import load_bundle
        from medseg.continual.registry import Registry

        name = Registry(bundles).promote(load_bundle(bundle), why=(why,) if why else ())
        console.say(f"In use: {name}\nServe it: medseg serve --model {bundles}")
        console.result({"in_use": name, "bundles": str(bundles)})


@app.command("rollback")
def rollback(
    bundles: _Bundles,
    to: Annotated[str, typer.Option(help="Name of a bundle's folder.  [the one before]")] = "",
    why: _Why = "",
    as_json: _Json = False,
) -> None:
    """Put the bundle in use again that was in use before."""
    with reporting(as_json=as_json) as console:
        from medseg.continual.registry import Registry

        name = Registry(bundles).roll_back(to, why=(why,) if why else ())
        console.say(f"In use: {name}")
        console.result({"in_use": name})


@app.command("history")
def history(bundles: _Bundles, as_json: _Json = False) -> None:
    """List what was put in use, kept and rolled back, when and why."""
    with reporting(as_json=as_json) as console:
        from medseg.continual.registry import Registry

        registry = Registry(bundles)
        entries = registry.history()
        if not entries:
            console.complain("loop", f"No bundle was put in use in {bundles}.")
            console.result({"in_use": None, "entries": []})
            raise typer.Exit(EXIT_FAILED)
        console.table(
            f"Bundles of {bundles}",
            ["when", "what", "in use", "why"],
            [
                [one.when[:16].replace("T", " "), one.action, one.bundle, "\n".join(one.why)]
                for one in entries
            ],
        )
        console.result(
            {
                "in_use": registry.current_name(),
                "entries": [one.model_dump(mode="json") for one in entries],
            }
        )
