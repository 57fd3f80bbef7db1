"""`medseg drift calibrate`: a model that foretells Dice, from the cases of a cross-validation."""

from collections.abc import Iterable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medseg.cli.console import reporting

if TYPE_CHECKING:
    from medseg.continual.quality_calibration import LabelledCase
    from medseg.dataset.description import DatasetDescription
    from medseg.inference.quality_model import QualityModel
    from medseg.volume.volume import LabelMap, Volume


def calibrate(
    dataset: Annotated[Path, typer.Argument(help="The data set that the run was trained on.")],
    model: Annotated[Path, typer.Option(help="Folder of the run (medseg train --out).")],
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where networks run.")
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the worse copies.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Fit the model that foretells Dice, without any further case.

    Each case of the run is judged by the network that has not learned from it, as it is and made
    worse in four ways. Interrupted, the same command goes on where it was.
    """
    with reporting(as_json=as_json) as console:
        from medseg.allocator import keep_freed_memory

        keep_freed_memory()

        from medseg.bundle import load_bundle
        from medseg.continual.judged_masks import JudgedMasks
        from medseg.continual.out_of_fold import networks_that_held_out
        from medseg.continual.quality_calibration import calibrate_quality
        from medseg.dataset.importers import open_dataset
        from medseg.inference.opinions import Examiner
        from medseg.inference.quality_model import save_quality_model
        from medseg.training.run import RunFolder

        network_of = networks_that_held_out(model)
        bundle = load_bundle(RunFolder(model).bundle)
        described = open_dataset(dataset, progress=console.progress)
        cases = _labelled(described, network_of)
        stamp = f"{bundle.weights_sha256} {_files(described, network_of)}"
        kept = JudgedMasks(model / "judged_masks.jsonl", stamp)
        fitted = calibrate_quality(
            Examiner(bundle, device=device), cases, seed=seed, kept=kept, progress=console.progress
        )
        path = save_quality_model(fitted, RunFolder(model).bundle)
        kept.forget()
        console.say(said(fitted, path))
        console.result(
            {"quality": str(path), "error": fitted.error, "correlation": fitted.correlation,
             "masks": fitted.masks, "cases": fitted.cases}
        )  # fmt: skip


def said(model: "QualityModel", path: Path) -> str:
    """How good a model is, in a sentence."""
    return (
        f"Dice is foretold with a mean error of {model.error:.3f} and a rank correlation of "
        f"{model.correlation:.2f} (cross-validated, {model.masks} masks of {model.cases} cases, "
        f"worse copies among them): {path}"
    )


def _labelled(described: "DatasetDescription", network_of: dict[str, int]) -> "list[LabelledCase]":
    """The cases that were held out, each with its network.

    Raises:
        DriftError: If one of them is not in the data set.
    """
    from medseg.continual.quality_calibration import LabelledCase
    from medseg.errors import DriftError

    there = {case.id for case in described.cases}
    missing = sorted(set(network_of) - there)
    if missing:
        raise DriftError(
            "The data set is the one that the run was trained on.",
            received=f"{described.name}, without {len(missing)} of its {len(network_of)} cases "
            f"({missing[0]} is one)",
            cure="Give the data set that medseg train was given.",
        )
    return [
        LabelledCase(case, partial(_pair, described, case), network)
        for case, network in sorted(network_of.items())
    ]


def _files(described: "DatasetDescription", cases: Iterable[str]) -> str:
    """A digest of names, sizes and times of the files of cases: masks of other files are not used.

    Raises:
        MissingPath: If one of them is not there.
    """
    from medseg.errors import MissingPath

    digest = sha256()
    for one in map(described.case, sorted(cases)):
        for path in (*one.images, *((one.label,) if one.label else ())):
            try:
                facts = path.stat()
            except OSError as error:
                raise MissingPath(
                    "The files of a data set lie where it says.", received=f"none at {path}"
                ) from error
            digest.update(f"{path} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _pair(described: "DatasetDescription", case: str) -> "tuple[Volume, LabelMap]":
    from medseg.dataset.description import read_case, read_case_label

    one = described.case(case)
    return read_case(described, one), read_case_label(described, one)
