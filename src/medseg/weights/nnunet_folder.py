"""A folder of a model that nnU-Net v2 has trained, with all its folds, becomes one bundle."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medseg.errors import MissingPath, WrongCheckpoint
from medseg.progress import SILENT, Progress
from medseg.weights.convert import Conversion, convert
from medseg.weights.nnunet_plan import NNUNet, kind_of, read_json
from medseg.weights.surroundings import Wishes

Kept = Literal["final", "best", "latest"]
"""Which of nnU-Net's checkpoints: of the last epoch, of the highest Dice in training, or of a
training that has not ended."""

_MODEL = re.compile(r"(?P<trainer>.+)__(?P<plans>.+)__(?P<configuration>.+)")


@dataclass(frozen=True)
class ModelFolder:
    """What lies in a model's folder.

    Attributes:
        path: The folder, `TRAINER__PLANS__CONFIGURATION`.
        folds: Names of the folds that become members: "0", "1", ... or "all".
        checkpoints: A file for each of them.
        nnunet: What nnU-Net wrote about the training.
    """

    path: Path
    folds: tuple[str, ...]
    checkpoints: tuple[Path, ...]
    nnunet: NNUNet


def import_nnunet(
    folder: Path,
    *,
    folds: Sequence[str] | None = None,
    kept: Kept = "final",
    orientation: str | None = None,
    command: str = "",
    progress: Progress = SILENT,
) -> Conversion:
    """Make a bundle of a model that nnU-Net v2 has trained.

    Args:
        folder: The model's folder, such as `nnUNetTrainer__nnUNetPlans__3d_fullres`.
        folds: Names of folds; None for all that are numbered, or else for "all".
        kept: Which checkpoint of each.
        orientation: Where x, y, z of all training files pointed to ("RAS"): then each case is
            brought there. None: a case is seen as it lies in its file, as nnU-Net sees it.
        command: The command line, for the bundle's provenance.
        progress: Told after each fold.

    Raises:
        MissingPath: If the folder is no such model, or a fold has no such checkpoint.
        UnreadableFile: If a checkpoint is damaged.
        WrongCheckpoint: If nnU-Net, or a trainer derived from its own, did what has no place in a
            bundle.
    """
    found = find_model(folder, folds=folds, kept=kept)
    done = convert(
        found.checkpoints,
        kind_of(found.nnunet),
        Wishes(orientation=orientation),
        command=command,
        progress=progress,
    )
    if done.homeless:
        raise WrongCheckpoint(
            "Each tensor of a model belongs to the network that its plans describe.",
            received=f"{len(done.homeless)} others, such as {done.homeless[0]}, by "
            f"{_trainer(found, done)}",
            cure="Use nnU-Net for this model: its trainer has built another network.",
        )
    figures, cases = _validation(found)
    return replace(
        done,
        bundle=replace(
            done.bundle,
            metrics={**figures, "known_of_training": _known(found, done)},
            provenance=done.bundle.provenance.model_copy(
                update={
                    "validation_cases": cases,
                    "data_licence": str(found.nnunet.dataset.get("licence") or ""),
                }
            ),
        ),
    )


def find_model(
    folder: Path, *, folds: Sequence[str] | None = None, kept: Kept = "final"
) -> ModelFolder:
    """Find plans and checkpoints in a model's folder.

    Raises:
        MissingPath: If they are not there.
    """
    named = _MODEL.fullmatch(folder.resolve().name)
    missing = [name for name in ("plans.json", "dataset.json") if not (folder / name).is_file()]
    if missing or named is None:
        models = sorted(path.parent.name for path in folder.glob("*__*__*/plans.json"))
        raise MissingPath(
            "A model of nnU-Net is a folder TRAINER__PLANS__CONFIGURATION with plans.json, "
            "dataset.json and folds.",
            received=f"{folder} without {' and '.join(missing) or 'such a name'}",
            cure=f"Name one of its models: {', '.join(models)}." if models else "Check the path.",
        )
    name = f"checkpoint_{kept}.pth"
    there = sorted(path.parent.name.removeprefix("fold_") for path in folder.glob(f"fold_*/{name}"))
    wanted = tuple(folds or [fold for fold in there if fold != "all"] or there)
    lacking = [fold for fold in wanted if fold not in there]
    if lacking or not wanted:
        raise MissingPath(
            f"Each fold of a model holds {name}.",
            received=f"folds {', '.join(there) or 'none'} with it in {folder}"
            + (f", not {', '.join(lacking)}" if lacking else ""),
            cure="Choose others with --folds, or another checkpoint with --checkpoint.",
        )
    nnunet = NNUNet(
        read_json(folder / "plans.json"), read_json(folder / "dataset.json"), named["configuration"]
    )
    return ModelFolder(
        folder, wanted, tuple(folder / f"fold_{fold}" / name for fold in wanted), nnunet
    )


def _trainer(found: ModelFolder, done: Conversion) -> str:
    return str(done.facts[0].get("trainer_name") or found.path.resolve().name.split("__")[0])


def _known(found: ModelFolder, done: Conversion) -> list[str]:
    """What is known about the training, a sentence each."""
    epochs = [facts.get("current_epoch") for facts in done.facts]
    known = [
        f"Trained by nnU-Net v2 (which release is not known) with {_trainer(found, done)}, "
        f"{found.nnunet.configuration}, folds {', '.join(found.folds)}",
        f"Epochs of each member: {', '.join(str(n) if n is not None else '?' for n in epochs)}",
    ]
    logged = [_last_dice(facts) for facts in done.facts]
    if any(value is not None for value in logged):
        numbers = ", ".join("?" if value is None else f"{value:.4f}" for value in logged)
        known.append(
            f"Pseudo Dice of patches in its training log, moving mean at the end: {numbers}; "
            "it is no Dice of whole cases"
        )
    return known


def _last_dice(facts: Mapping[str, Any]) -> float | None:
    logging = facts.get("logging")
    values = logging.get("ema_fg_dice") if isinstance(logging, Mapping) else None
    return float(values[-1]) if values else None


def _validation(found: ModelFolder) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Mean Dice of each structure by nnU-Net's own validation of all members, and its cases.

    Nothing if one of the members has none.
    """
    dice: dict[str, list[float]] = {}
    cases: list[str] = []
    names = _names_of_keys(found.nnunet.dataset)
    for fold in found.folds:
        file = found.path / f"fold_{fold}" / "validation" / "summary.json"
        if fold == "all" or not file.is_file():
            return {}, ()
        for case in read_json(file).get("metric_per_case", ()):
            cases.append(Path(str(case.get("prediction_file", ""))).name.split(".")[0])
            for key, scores in case.get("metrics", {}).items():
                value = float(scores.get("Dice", np.nan))
                if key in names and np.isfinite(value):
                    dice.setdefault(names[key], []).append(value)
    if not dice:
        return {}, ()
    return {
        "dice": {name: float(np.mean(values)) for name, values in dice.items()},
        "measured_on": "cases of nnU-Net's own validation, each by the member that had not seen it",
    }, tuple(cases)


def _names_of_keys(dataset: Mapping[str, Any]) -> dict[str, str]:
    """Names of structures by what `summary.json` calls them: "1", or "(1, 2)" for a region."""
    labels = dataset.get("labels", {})
    return {
        str(tuple(value) if isinstance(value, list) and len(value) > 1 else _alone(value)): name
        for name, value in labels.items()
    }


def _alone(value: object) -> object:
    return value[0] if isinstance(value, list) and value else value
