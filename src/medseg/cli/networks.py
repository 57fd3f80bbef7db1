"""`medseg networks`: which kinds of network there are, and what they cost."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg.cli.console import Console, reporting
from medseg.cli.durations import seconds_of
from medseg.cli.plan import bytes_of, machine_budget
from medseg.cli.training_options import Config, Gflops, Memory, PlannedDevice

if TYPE_CHECKING:
    from medseg.dataset.fingerprint import Fingerprint
    from medseg.specs import Budget, NetworkSpec

_DEFAULT_BUDGET = "20m"


def networks(
    dataset: Annotated[
        Path | None,
        typer.Argument(help="Also plan each kind for this data set, raw or described."),
    ] = None,
    budget: Annotated[
        str, typer.Option(help="Time of the trainings that are planned: 90s, 15m, 1h30m.")
    ] = _DEFAULT_BUDGET,
    config: Config = "auto",
    device: PlannedDevice = "auto",
    memory: Memory = None,
    gflops: Gflops = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the networks as JSON.")] = False,
) -> None:
    """List the kinds of network with weights, multiplications and memory; train takes --arch."""
    seconds = seconds_of(budget)
    memory_bytes = None if memory is None else bytes_of(memory)
    with reporting(as_json=as_json) as console:
        facts: dict[str, Any] = {"networks": [_paper(name) for name in _names()]}
        _say_papers(console, facts["networks"])
        if dataset is not None:
            from medseg.dataset.fingerprint import take_fingerprint
            from medseg.dataset.importers import open_dataset

            fingerprint = take_fingerprint(open_dataset(dataset), progress=console.progress)
            machine = machine_budget(device, memory_bytes, gflops)
            spent = machine.model_copy(update={"seconds": seconds})
            with console.progress.task("planning", len(facts["networks"])) as task:
                for entry in facts["networks"]:
                    entry["planned"] = _planned(entry["name"], fingerprint, spent, config)
                    task.advance()
            _say_plans(console, f"Planned for {fingerprint.dataset}, {budget}", facts["networks"])
        console.result(facts)


def _names() -> tuple[str, ...]:
    from medseg.specs import PAPERS

    return tuple(PAPERS)


def _paper(name: str) -> dict[str, Any]:
    """A network in its paper's setting, on the images that its paper has."""
    from medseg.specs import PAPERS

    paper = PAPERS[name]
    costs = _costs(paper.spec(), paper.grid, batch_size=2, device="cuda")
    return {"name": name, "source": paper.source, "paper": costs, "planned": None}


def _planned(
    name: str,
    fingerprint: "Fingerprint",
    budget: "Budget",
    config: Config,
) -> dict[str, Any]:
    """A network as it would be trained, or why it cannot be."""
    from medseg.dataset.cascade import share_of
    from medseg.dataset.effort import effort
    from medseg.dataset.plan import make_plan
    from medseg.errors import PlanError

    budget = share_of(config, budget)
    try:
        plan = make_plan(fingerprint, budget, config=config, arch=name)
    except PlanError as error:
        return {"error": str(error)}
    batch = plan.recipe.batch_size
    costs = _costs(plan.network, plan.patch_size, batch_size=batch, device=budget.device)
    spent = effort(plan.network, plan.patch_size, batch, budget, fingerprint.cases)
    return costs | {"steps": spent.steps}


def _costs(
    spec: "NetworkSpec", grid: tuple[int, ...], *, batch_size: int, device: str
) -> dict[str, Any]:
    from medseg.dataset.cost import gmacs, parameter_count, training_memory_bytes

    return {
        "parameters": parameter_count(spec),
        "patch": list(grid[: spec.dims]),
        "gmacs": round(gmacs(spec, grid), 3),
        "batch": batch_size,
        "memory_bytes": training_memory_bytes(spec, grid, batch_size, device=device),
    }


def _say_papers(console: Console, networks: list[dict[str, Any]]) -> None:
    rows = []
    for one in networks:
        rows.append([one["name"], one["source"].split()[-1], *_words(one["paper"])])
    columns = ["name", "paper", "weights", "patch", "GMACs", "memory"]
    console.table("Networks in the setting of their paper, a step of two patches", columns, rows)


def _say_plans(console: Console, title: str, networks: list[dict[str, Any]]) -> None:
    rows = []
    for one in networks:
        planned = one["planned"]
        if "error" in planned:
            console.complain("plan", f"{one['name']}: {planned['error']}")
            continue
        steps = [str(planned["batch"]), f"{planned['steps']:,}"]
        rows.append([one["name"], *_words(planned), *steps])
    columns = ["name", "weights", "patch", "GMACs", "memory", "batch", "steps"]
    console.table(title, columns, rows)


def _words(costs: dict[str, Any]) -> list[str]:
    return [
        f"{costs['parameters']:,}",
        "x".join(map(str, costs["patch"])),
        f"{costs['gmacs']:.3g}" if costs["gmacs"] < 100 else f"{costs['gmacs']:.1f}",
        f"{costs['memory_bytes'] / 2**30:.2g} GiB",
    ]
