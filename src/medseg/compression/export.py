"""A bundle for another runtime: written, checked against torch, and kept only if it agrees."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from medseg.bundle import Bundle, Configuration, build_members
from medseg.compression.accuracy import MOST_CASES, compared, require_small_loss
from medseg.compression.alike import require_alike
from medseg.compression.calibrate import Calibration, calibrated
from medseg.compression.compile import require_compiler, write_package
from medseg.compression.fake import fake_quantise
from medseg.compression.graph import onnx_graph
from medseg.compression.parity import Comparison
from medseg.compression.patches import Patches, TrialData, made_up_patches, real_patches
from medseg.compression.pipeline import write_pipeline
from medseg.compression.qdq import barred, quantised, shared_inputs
from medseg.compression.writers import require_offered, write_network
from medseg.dataset.description import DatasetDescription
from medseg.errors import EngineDiffers, NoEngine
from medseg.files import atomic_folder
from medseg.inference import onnx_engine, tensorrt_engine
from medseg.inference.engine import Engine
from medseg.inference.engines import (
    FolderMaker,
    activation_of,
    open_engine,
    patch_ms,
    runtime_version,
)
from medseg.inference.exported import (
    RECORD_FILE,
    Accuracy,
    EngineKind,
    EnginePrecision,
    EngineRecord,
    Exported,
    Parity,
    Place,
    Quantisation,
    files_in,
    home_for_writing,
    networks_of,
    numbers_of,
)
from medseg.inference.openvino_engine import OpenVinoEngine
from medseg.inference.predict import Predictor
from medseg.inference.torch_engine import TorchEngine
from medseg.networks.network import Network
from medseg.progress import SILENT, Progress

if TYPE_CHECKING:
    from onnx import ModelProto

MAX_DICE_LOSS = 0.005
"""Mean Dice may fall by so much."""

_CHECKED, _CALIBRATED, _FEWEST = 4, 32, 8
"""Patches that engines are compared on; that INT8 is calibrated on; and of large patches."""

_CALIBRATED_VOXELS = 32 * 64**3
"""Voxels of all patches that INT8 is calibrated on, about."""


@dataclass(frozen=True)
class ExportSettings:
    """What is exported, and what must hold for it to be kept.

    Attributes:
        kind: The runtime.
        precision: What it computes with.
        max_dice_loss: Mean Dice on whole cases may fall by so much.
        cases: Whole cases that judge, at most; 0 for none.
    """

    kind: EngineKind
    precision: EnginePrecision = "fp32"
    max_dice_loss: float = MAX_DICE_LOSS
    cases: int = MOST_CASES

    @property
    def name(self) -> str:
        """For people, such as "openvino int8"."""
        return f"{self.kind} {self.precision}"


@dataclass(frozen=True, eq=False)
class Schooled:
    """What lies behind weights that were trained for INT8.

    Attributes:
        before: The bundle whose weights they were: its Dice in float32 is what counts.
        seconds: Time of the training.
        untrained: Accuracy of those weights in INT8.
    """

    before: Bundle
    seconds: float
    untrained: Accuracy | None


@dataclass
class _Work:
    """What has been written and found so far."""

    settings: ExportSettings
    folder: Path
    parities: list[Parity] = field(default_factory=list)
    layers: list[int] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    calibrated_on: int = 0
    patch_ms: float = 0.0
    torch_ms: float = 0.0


def export(
    bundle: Bundle,
    settings: ExportSettings,
    *,
    data: DatasetDescription | None = None,
    schooled: Schooled | None = None,
    progress: Progress = SILENT,
) -> Exported:
    """Export all networks of a bundle; see `medseg.inference.exported` for what is written.

    Args:
        bundle: A bundle that was saved.
        settings: What is wanted.
        data: Real images: INT8 is calibrated on cases that the bundle was trained on, or on some
            that do not judge. Every precision is compared on their patches, and all but fp32 are
            judged on whole cases. Without a data set patches are made up.
        schooled: What lies behind weights that were trained for INT8.
        progress: Told of all that is done.

    Raises:
        NoEngine: If the runtime has no such precision; if INT8 is asked for without data.
        WrongInput: If the data set is not of the bundle's kind, by its names or its voxels.
        MissingDependency: If the runtime, or a compiler that it needs, is not installed.
        EngineDiffers: If results differ from torch's, if convolutions would not run in INT8, or if
            Dice falls by too much. Nothing is kept then.
        CannotWrite: If the folder cannot be written.
    """
    require_offered(settings.kind, settings.precision)
    runtime = runtime_version(settings.kind)
    if settings.kind == "compiled":
        require_compiler()
    if settings.precision == "int8" and data is None:
        raise NoEngine(
            "INT8 is calibrated on images, and a bundle holds none.",
            received="no data set",
            cure="Name the one that it was trained on, or one of its kind: --calibrate DATASET.",
        )
    trial = None if data is None else TrialData(bundle, data)
    if trial is not None:
        require_alike(bundle, trial.description, trial.training, progress=progress)
    home = home_for_writing(bundle, settings.kind) / settings.kind / settings.precision
    with atomic_folder(home) as temporary:
        work = _Work(settings, temporary)
        networks = sum(len(one.members) for one in networks_of(bundle))
        with progress.task(f"Exporting to {settings.name}", networks) as task:
            for configuration in networks_of(bundle):
                patches = _patches(trial, configuration, settings, progress)
                for number, network in zip(
                    numbers_of(bundle, configuration), build_members(configuration), strict=True
                ):
                    _export_network(work, number, network, configuration, patches, progress)
                    task.advance()
        write_pipeline(bundle, temporary, script=settings.kind == "onnx")
        record = EngineRecord(
            kind=settings.kind,
            precision=settings.precision,
            weights_sha256=bundle.weights_sha256,
            place=Place.here(runtime),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            files=dict(files_in(temporary)),
            networks=networks,
            parity=_together(work.parities),
            patch_ms=round(work.patch_ms, 3),
            torch_ms=round(work.torch_ms, 3),
            threads=torch.get_num_threads(),
            quantisation=_quantisation(work, trial, schooled),
            accuracy=_judged(bundle, work, trial, schooled, progress),
        )
        (temporary / RECORD_FILE).write_text(record.model_dump_json(indent=1) + "\n", "utf-8")
    return Exported(home, record)


def _patches(
    trial: TrialData | None,
    configuration: Configuration,
    settings: ExportSettings,
    progress: Progress,
) -> Patches:
    count = _CHECKED
    if settings.precision == "int8":
        enough = _CALIBRATED_VOXELS // prod(configuration.plan.patch_size)
        count = min(_CALIBRATED, max(_FEWEST, enough))
    if trial is None:
        return made_up_patches(configuration, count)
    return real_patches(trial, configuration, count, progress=progress)


def _export_network(
    work: _Work,
    number: int,
    network: Network,
    configuration: Configuration,
    patches: Patches,
    progress: Progress,
) -> None:
    """Write one network, and compare it with torch.

    Raises:
        EngineDiffers: If it differs.
    """
    settings, batches = work.settings, patches.batches
    patch = batches[0].shape[1:]
    exact: nn.Module = network
    torch_engine = TorchEngine(network, device="cpu", precision="fp32")
    if settings.kind == "compiled":
        write_package(network, work.folder / f"{number}.pt2", patch)
    else:
        model = onnx_graph(network, patch)
        if settings.precision == "int8":
            model, exact = _quantise(work, model, network, patches, progress)
        write_network(
            model,
            work.folder,
            number,
            kind=settings.kind,
            precision=settings.precision,
            patch=patch,
        )
    engine = open_engine(work.folder, number, settings.kind, settings.precision)
    _require_computed(engine, settings.precision)
    comparison = Comparison(
        activation_of(configuration),
        source=patches.source,
        against="fake quantisation" if settings.precision == "int8" else "fp32",
    )
    comparison.add(engine, exact, batches[:_CHECKED])
    work.parities.append(comparison.require_near(settings.precision, name=settings.name))
    if settings.precision == "int8":
        work.layers.append(_int8_layers(work, number, engine))
    if number == 0:
        work.patch_ms = patch_ms(engine, batches[0])
        work.torch_ms = patch_ms(torch_engine, batches[0])


def _quantise(
    work: _Work,
    model: "ModelProto",
    network: Network,
    patches: Patches,
    progress: Progress,
) -> tuple["ModelProto", nn.Module]:
    """A graph in INT8, and the network that it must agree with.

    The first network decides which layers stay float in the others of its shape too.
    """
    known: Mapping[str, str] | None = work.kept if work.calibrated_on else None
    found: Calibration = calibrated(
        network,
        patches.batches,
        shared_inputs(model),
        target=work.settings.kind,
        barred=barred(model, work.settings.kind),
        kept=known,
        progress=progress,
    )
    if not found.grids:
        raise EngineDiffers(
            "INT8 needs convolutions that can be quantised.",
            received="a network without any that may",
            cure="Export in fp16 or bf16.",
        )
    work.kept |= found.kept
    work.calibrated_on = found.patches
    fake = deepcopy(network)
    fake_quantise(fake, found.grids)
    return quantised(model, found.grids), fake.eval()


def _int8_layers(work: _Work, number: int, engine: Engine) -> int:
    """How many convolutions a runtime really computes in INT8.

    Raises:
        EngineDiffers: If there is none.
    """
    if isinstance(engine, OpenVinoEngine):
        count = engine.int8_layers
    elif work.settings.kind == "onnx":
        count = onnx_engine.int8_layers(work.folder / f"{number}.onnx")
    else:
        count = tensorrt_engine.int8_layers(work.folder / f"{number}.plan")
    if count == 0:
        raise EngineDiffers(
            "An INT8 engine computes convolutions in INT8.",
            received=f"{work.settings.name}, whose own graph has none",
            cure="Export to openvino, or in another precision.",
        )
    return count


def _require_computed(engine: Engine, precision: EnginePrecision) -> None:
    """Pass if OpenVINO computes in the precision that it was asked for.

    Raises:
        EngineDiffers: If it does not: a processor without fp16 gets bf16, and one without float32.
    """
    if not isinstance(engine, OpenVinoEngine) or precision == "int8":
        return
    wanted = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}[precision]
    if engine.computes_in != {wanted}:
        raise EngineDiffers(
            f"An engine in {precision} computes in {precision}.",
            received=f"a processor on which OpenVINO takes {', '.join(sorted(engine.computes_in))}",
            cure="Export in another precision.",
        )


def _quantisation(
    work: _Work, trial: TrialData | None, schooled: Schooled | None
) -> Quantisation | None:
    if trial is None or work.settings.precision != "int8":
        return None
    return Quantisation(
        data=trial.description.name,
        patches=work.calibrated_on,
        trained_seconds=round(schooled.seconds, 1) if schooled else 0.0,
        layers=min(work.layers),
        kept=work.kept,
        untrained=schooled.untrained if schooled else None,
    )


def _judged(
    bundle: Bundle,
    work: _Work,
    trial: TrialData | None,
    schooled: Schooled | None,
    progress: Progress,
) -> Accuracy | None:
    """Scores of whole cases.

    Raises:
        EngineDiffers: If Dice falls by too much.
    """
    settings = work.settings
    if trial is None or settings.precision == "fp32" or settings.cases == 0:
        return None
    found = compared(
        trial,
        Predictor(
            schooled.before if schooled else bundle, engine="torch", device="cpu", precision="fp32"
        ),
        Predictor(
            bundle, maker=FolderMaker(bundle, work.folder, settings.kind, settings.precision)
        ),
        cases=settings.cases,
        progress=progress,
    )
    if found is not None:
        require_small_loss(found, settings.max_dice_loss, name=settings.name)
    return found


def _together(parities: Sequence[Parity]) -> Parity:
    """Of all networks: the worst of each figure."""
    return parities[0].model_copy(
        update={
            "patches": sum(one.patches for one in parities),
            "largest_logit": max(one.largest_logit for one in parities),
            "largest_difference": max(one.largest_difference for one in parities),
            "root_mean_square": max(one.root_mean_square for one in parities),
            "dice": min(one.dice for one in parities),
        }
    )
