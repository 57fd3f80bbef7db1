"""`medseg plan`: what training would do, and why, before it does it."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medseg.cli.console import Console, reporting
from medseg.cli.durations import seconds_of
from medseg.cli.training_options import Config, Gflops, Memory, PlannedDevice, Preset

if TYPE_CHECKING:
    from medseg.specs import Budget

_DEFAULT_BUDGET = "20m"

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

_OTHER_GPU_GFLOPS, _OTHER_MEMORY_BYTES = 20_000.0, 8 << 30
"""Of a graphics card that is not in this machine: a common one, in mixed precision."""


def plan(
    dataset: Annotated[Path, typer.Argument(help="A described data set, or any raw folder.")],
    out: Annotated[
        Path | None, typer.Option(help="File to keep the plan in; train takes it by --plan.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help=f"Time of the whole training: 90s, 15m, 1h30m.  [{_DEFAULT_BUDGET}]"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the cases, instead of a budget.")
    ] = None,
    arch: Annotated[
        str | None, typer.Option(help="Kind of network; medseg networks lists them.  [plain_unet]")
    ] = None,
    config: Config = "auto",
    preset: Preset = None,
    device: PlannedDevice = "auto",
    memory: Memory = None,
    gflops: Gflops = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Show all configurations, and of the one that is taken each decision and why."""
    if budget is not None and epochs is not None:
        raise typer.BadParameter("give --budget or --epochs, not both")
    seconds = None if epochs is not None else seconds_of(budget or _DEFAULT_BUDGET)
    memory_bytes = None if memory is None else bytes_of(memory)
    with reporting(as_json=as_json) as console:
        from medseg.dataset.cascade import share_of
        from medseg.dataset.fingerprint import take_fingerprint
        from medseg.dataset.importers import open_dataset
        from medseg.dataset.overview import configurations
        from medseg.dataset.plan import make_plan, save_plan

        fingerprint = take_fingerprint(open_dataset(dataset), progress=console.progress)
        spent = machine_budget(device, memory_bytes, gflops).model_copy(
            update={"seconds": seconds, "epochs": epochs, "preset": preset}
        )
        arch = arch or ("plain_unet" if preset is None else "resenc_unet")
        decided = make_plan(fingerprint, share_of(config, spent), config=config, arch=arch)
        every = configurations(fingerprint, spent, arch)
        numbers = [one.facts(fingerprint.cases) for one in every]
        _say_configurations(console, decided.dataset, numbers)
        rows = [(reason.what, reason.value, reason.why) for reason in decided.reasons]
        title = f"Plan of {decided.config} for {decided.dataset}"
        console.table(title, ("what", "decision", "why"), rows)
        if out is not None:
            save_plan(decided, out)
            console.say(f"Plan: {out}")
        console.result(decided.model_dump(mode="json") | {"configurations": numbers})


def _say_configurations(console: Console, dataset: str, numbers: list[dict[str, Any]]) -> None:
    """Print what each configuration would be, side by side, and why."""
    columns = [_words(one) if one["planned"] else {} for one in numbers]
    names = next(filter(None, columns))
    rows = [[name, *(one.get(name, "-") for one in columns)] for name in names]
    console.table(f"Configurations for {dataset}", ("", *(one["config"] for one in numbers)), rows)
    for one in numbers:
        taken = " Taken by --config auto." if one["chosen"] else ""
        planned = "" if one["planned"] else "not planned. "
        console.say(f"{one['config']}: {planned}{one['why']}{taken}")
    console.say("")


def _words(one: dict[str, Any]) -> dict[str, str]:
    """The numbers of a planned configuration, for people."""
    return {
        "patch": "x".join(map(str, one["patch_size"])),
        "spacing, mm": "x".join(f"{mm:.3g}" for mm in one["spacing_mm"]),
        "batch": str(one["batch_size"]),
        "weights": f"{one['parameters']:,}",
        "memory": f"{one['memory_bytes'] / 2**30:.2g} GiB",
        "seconds per step": f"{one['step_seconds']:.2g}",
        "steps": f"{one['steps']:,}",
    }


def bytes_of(text: str) -> int:
    """Bytes of an amount of memory such as 8G or 512M."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:I?B)?", text.strip().upper())
    amount = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    if amount <= 0:
        raise typer.BadParameter(f"an amount of memory is written like 8G or 512M, not {text!r}")
    return amount


def machine_budget(
    device: Literal["auto", "cpu", "cuda"], memory_bytes: int | None, gflops: float | None
) -> "Budget":
    """This machine as training measures it, without a limit of time; what was given counts more."""
    from medseg.specs import Budget

    if device != "auto" and memory_bytes and gflops:
        return Budget(memory_bytes=memory_bytes, device=device, gflops=gflops)
    from medseg.training.probe import choose_device, probe_machine

    if device == "cuda" and choose_device("auto") == "cpu":
        return Budget(
            memory_bytes=memory_bytes or _OTHER_MEMORY_BYTES,
            device="cuda",
            gflops=gflops or _OTHER_GPU_GFLOPS,
        )
    machine = probe_machine(choose_device(device))
    return Budget(
        memory_bytes=memory_bytes or machine.memory_bytes,
        device=machine.device,
        cores=machine.cores,
        gflops=gflops or round(machine.gflops, 1),
    )
