"""`medseg demo`: the whole way on a small case, by the same commands that a user types."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.console import Console, reporting

if TYPE_CHECKING:
    from medseg.dataset.description import DatasetDescription

_TRAINING_CASES, _UNSEEN_CASES = 12, 2


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that is made.")] = Path("demo"),
    data: Annotated[
        Path | None, typer.Option(help="A real data set instead of the made-up study.")
    ] = None,
    budget: Annotated[str, typer.Option(help="Time for training, such as 70s or 10m.")] = "70s",
    seed: Annotated[int, typer.Option(help="Seed of the study and of the training.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Walk the whole way: a study, training, prediction, scores and a report."""
    with reporting(as_json=as_json) as console:
        from medseg.errors import CannotWrite

        if out.exists() and any(out.iterdir()):
            raise CannotWrite(
                "The demo writes into a folder of its own.",
                received=f"{out}, which is not empty",
                cure="Remove it, or choose another one with --out.",
            )
        study = _real_study(data, out, seed) if data else _phantom_study(out, seed, console)
        raw, unseen, references, mask_format = study
        dataset, run = out / "dataset", out / "run"
        _medseg(console, "dataset", "import", raw, "--out", dataset)
        _medseg(console, "dataset", "check", dataset)
        _medseg(console, "train", dataset, "--out", run, "--budget", budget, "--seed", str(seed))
        _medseg(
            console, "predict", unseen, "--model", run / "bundle",
            "--out", out / "masks", "--format", mask_format,
        )  # fmt: skip
        _medseg(console, "evaluate", out / "masks", references, "--out", out / "scores")
        _conclude(console, out)


def _medseg(console: Console, *words: str | Path) -> None:
    """Run one command as a user would; its own output is shown."""
    command = [*(str(word) for word in words), *(["--json"] if console.as_json else [])]
    console.say(f"\n$ medseg {shlex.join(command)}")
    outcome = subprocess.run(
        [sys.executable, "-m", "medseg", *command],
        stdout=subprocess.PIPE if console.as_json else None,
        text=True,
        check=False,
    )
    if outcome.returncode:
        console.pass_on(outcome.stdout)
        raise typer.Exit(outcome.returncode)


def _phantom_study(out: Path, seed: int, console: Console) -> tuple[Path, Path, Path, str]:
    """Write training cases as NIfTI in MSD's layout, and unseen ones as DICOM series."""
    from medseg.dataset.phantom import write_study

    study = write_study(
        out, training=_TRAINING_CASES, unseen=_UNSEEN_CASES, seed=seed, progress=console.progress
    )
    return study.raw, study.unseen, study.references, "dicom-seg"


def _real_study(data: Path, out: Path, seed: int) -> tuple[Path, Path, Path, str]:
    """Keep a tenth of the cases (at most 20) of a data set apart as unseen."""
    import shutil

    from medseg.dataset.description import save_description
    from medseg.dataset.folds import holdout
    from medseg.dataset.importers import open_dataset

    description: DatasetDescription = open_dataset(data)
    kept, apart = holdout(description, seed=seed)
    unseen, references = out / "unseen", out / "references"
    unseen.mkdir(parents=True)
    references.mkdir()
    for case in description.cases:
        if case.id in apart and case.label is not None:
            for image in case.images:
                shutil.copy2(image, unseen / image.name)
            shutil.copy2(case.label, references / case.label.name)
    remaining = tuple(case for case in description.cases if case.id in kept)
    save_description(description.model_copy(update={"cases": remaining}), out / "study")
    return out / "study", unseen, references, "same"


def _conclude(console: Console, out: Path) -> None:
    scores = json.loads((out / "scores" / "scores.json").read_text())
    dice = scores["summary"]["mean"]["dice"]
    pages = {"training": out / "run" / "report.html", "scores": out / "scores" / "report.html"}
    console.say(f"\nMean Dice on unseen cases: {dice['mean']:.3f}")
    console.say(f"Masks:   {(out / 'masks').resolve()}")
    console.say(f"Reports: {pages['training'].resolve()}\n         {pages['scores'].resolve()}")
    console.result(
        {"dice": dice, "masks": str(out / "masks")} | {k: str(v) for k, v in pages.items()}
    )
