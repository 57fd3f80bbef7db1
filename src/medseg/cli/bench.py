"""`medseg bench`: what a bundle costs on this machine, engine by engine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.console import Console, reporting

if TYPE_CHECKING:
    from medseg.compression.costs import CaseCost, Costs, EngineCost


def bench(
    bundle: Annotated[
        str, typer.Argument(help="Name of a bundle in the box, or a bundle's or a run's folder.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for bench.json and bench.svg, beside the table.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure time and memory of every engine of a bundle, beside its Dice."""
    with reporting(as_json=as_json) as console:
        from medseg.allocator import keep_freed_memory

        keep_freed_memory()

        from medseg.bundle import load_bundle
        from medseg.compression.costs import costs

        loaded = load_bundle(bundle)
        found = costs(loaded, progress=console.progress)
        _say(console, found, bundle)
        if out is not None:
            _write(console, found, out)
        console.result(found.model_dump(mode="json"))


def _say(console: Console, found: "Costs", bundle: str) -> None:
    running = [one for one in found.engines if not one.refused]
    kinds = [case.case for case in running[0].cases] if running else []
    columns = ["engine", "ms a patch", *(f"s, {kind}" for kind in kinds), "GB", "MB", "Dice"]
    title = f"{found.bundle}: {found.networks} networks, {found.threads} threads, {found.processor}"
    console.table(title, columns, [_row(one) for one in running])
    foretold = [case for one in running for case in one.cases if not case.is_measured]
    if foretold:
        console.say("~ is foretold: windows times the time of a patch, and the rest by voxels.")
    for one in found.engines:
        if one.refused:
            console.say(f"{one.engine} does not run here. {one.refused}")
    if not any(one.engine.startswith("openvino") for one in found.engines):
        console.say(
            f"Faster on a CPU: medseg export {bundle} --to openvino --precision int8 "
            "--calibrate DATASET."
        )


def _row(one: "EngineCost") -> list[str]:
    dice = "-" if one.dice is None else f"{one.dice:.4f}"
    if one.dice_change is not None:
        dice += f" ({one.dice_change:+.4f})"
    return [
        one.engine, f"{one.patch_ms:.3g}", *map(_seconds, one.cases), f"{one.memory_gb:.2f}",
        f"{one.megabytes:.1f}", dice,
    ]  # fmt: skip


def _seconds(case: "CaseCost") -> str:
    return f"{'' if case.is_measured else '~'}{case.seconds:.3g} ({case.windows} windows)"


def _write(console: Console, found: "Costs", out: Path) -> None:
    """Write the figures, and the picture of all engines whose Dice is known."""
    from medseg.files import write_text
    from medseg.report.plots.pareto import Priced, pareto

    write_text(out / "bench.json", found.model_dump_json(indent=1) + "\n")
    priced = [
        Priced(one.engine, one.patch_ms, one.dice)
        for one in found.engines
        if one.dice is not None and not one.refused
    ]
    console.say(f"Figures: {out / 'bench.json'}")
    if priced:
        write_text(out / "bench.svg", pareto(priced) + "\n")
        console.say(f"Plot:    {out / 'bench.svg'}")
