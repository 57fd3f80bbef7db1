"""What a bundle costs on this machine: time, memory and Dice of each of its engines."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from math import prod
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pydantic import BaseModel

from medseg.allocator import keep_freed_memory
from medseg.bundle import Bundle, load_bundle
from medseg.bundle_weights import WEIGHTS_FILE
from medseg.compression.standings import model_patch_ms
from medseg.dataset.plan import Plan
from medseg.dataset.preprocess import network_grid
from medseg.errors import MedsegError, NoEngine
from medseg.inference.engines import EngineName, Wanted
from medseg.inference.exported import engines_of, read_engine
from medseg.inference.machine import processor_name
from medseg.inference.predict import Predictor
from medseg.inference.window import positions
from medseg.progress import SILENT, Progress
from medseg.specs import FROZEN
from medseg.training.footprint import peak_memory_gb
from medseg.types import GridSize, SpacingMm
from medseg.volume.geometry import Geometry
from medseg.volume.volume import Volume

MOST_SECONDS = 30.0
"""A case is predicted if that is foretold to take less; else what is foretold is all there is."""

TYPICAL_CT = "CT 512x512x200"
CT_GRID: GridSize = (512, 512, 200)
CT_SPACING_MM: SpacingMm = (0.8, 0.8, 2.5)
"""A scan of the trunk, as hospitals make many."""

_AXES = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}


class CaseShape(NamedTuple):
    """A kind of case.

    Attributes:
        name: What it is.
        grid: Voxels along R, A and S.
        spacing_mm: Their distances.
    """

    name: str
    grid: GridSize
    spacing_mm: SpacingMm


class CaseCost(BaseModel):
    """What one case takes.

    Attributes:
        case: What it is.
        grid: Voxels of the file along R, A and S.
        windows: How many windows each network sees.
        seconds: Wall time from the array to the mask; reading and writing files is left out.
        is_measured: Whether it was predicted, on noise; otherwise it is the time of a patch for
            each window and network, and for each voxel of the file what the case of the training
            data took besides its windows, where that was measured.
    """

    model_config = FROZEN

    case: str
    grid: GridSize
    windows: int
    seconds: float
    is_measured: bool


class EngineCost(BaseModel):
    """What one engine costs.

    Attributes:
        engine: Name and precision, such as "openvino int8".
        patch_ms: Wall time of one patch through all networks, in milliseconds.
        megabytes: Size of its files.
        memory_gb: Most resident memory of a process that predicted the measured cases, programs
            and networks included.
        dice: Mean Dice of the bundle on the cases that its figures, or the engine's record, name;
            None where nobody measured it.
        dice_change: Dice of the engine less that of the weights in float32, on the same cases;
            None of torch, and where nobody measured it.
        cases: What cases take.
        refused: Why the engine does not run here; empty if it does.
    """

    model_config = FROZEN

    engine: str
    patch_ms: float = 0.0
    megabytes: float
    memory_gb: float = 0.0
    dice: float | None
    dice_change: float | None = None
    cases: tuple[CaseCost, ...] = ()
    refused: str = ""


class Costs(BaseModel):
    """The content of `bench.json`.

    Attributes:
        bundle: Name and first digits of the hash of its weights.
        processor: Where it was measured.
        threads: How many.
        networks: How many networks the bundle has.
        engines: Torch first, then each one that was exported.
    """

    model_config = FROZEN

    bundle: str
    processor: str
    threads: int
    networks: int
    engines: tuple[EngineCost, ...]


class _Task(NamedTuple):
    """What a process is to measure."""

    folder: str
    engine: EngineName
    precision: Wanted
    shapes: tuple[CaseShape, ...]
    threads: int


class _Found(NamedTuple):
    """What it measured."""

    patch_ms: float
    memory_gb: float
    cases: tuple[CaseCost, ...]


def costs(
    bundle: Bundle,
    *,
    shapes: Sequence[CaseShape] | None = None,
    progress: Progress = SILENT,
) -> Costs:
    """Measure torch and all engines that a bundle was exported to, each in a process of its own.

    Args:
        bundle: A bundle that was saved.
        shapes: Kinds of case; a case like those of the training data, and of a 3D bundle a CT of
            the trunk, where nothing is said.
        progress: Told of each engine.

    Raises:
        NoEngine: If the bundle was not saved.
        CorruptEngine: If the record of an engine cannot be read. Engines that do not run here are
            rows that say why.
    """
    if bundle.folder is None:
        raise NoEngine("A bundle is saved before it is measured.", received="one in memory only")
    kinds = tuple(shapes_of(bundle.plan) if shapes is None else shapes)
    rows = list(_candidates(bundle))
    found = []
    with progress.task("measure engines", len(rows)) as task:
        for engine, precision, row in rows:
            asked = _Task(str(bundle.folder), engine, precision, kinds, torch.get_num_threads())
            found.append(_measured(asked, row))
            task.advance()
    return Costs(
        bundle=bundle.identity,
        processor=processor_name(),
        threads=torch.get_num_threads(),
        networks=sum(len(stage.members) for stage in bundle.stages),
        engines=tuple(found),
    )


def shapes_of(plan: Plan) -> tuple[CaseShape, ...]:
    """A case like those of the training data, and of volumes a CT of the trunk."""
    grid, spacing = [1, 1, 1], [1.0, 1.0, 1.0]
    for n, letter in enumerate(plan.orientation):
        grid[_AXES[letter]], spacing[_AXES[letter]] = plan.median_grid[n], plan.spacing_mm[n]
    own = CaseShape(
        "like the training data", (grid[0], grid[1], grid[2]), (spacing[0], spacing[1], spacing[2])
    )
    if plan.config == "2d":
        return (own,)
    return (own, CaseShape(TYPICAL_CT, CT_GRID, CT_SPACING_MM))


def windows_of(shape: CaseShape, plan: Plan) -> int:
    """How many windows a case of a shape is covered by."""
    geometry = Geometry.from_spacing(shape.spacing_mm, shape.grid)
    turned = geometry.reordered(*geometry.steps_to(plan.orientation_of(geometry)))
    grid = network_grid(turned, plan).grid_size
    pairs = zip(grid, plan.window.patch_size, strict=True)
    return prod(len(positions(max(n, p), p, plan.window.overlap)) for n, p in pairs)


def measure(task: _Task) -> _Found:
    """What one engine takes, in this process; meant for one that was started for it."""
    keep_freed_memory()
    torch.set_num_threads(task.threads)
    bundle = load_bundle(task.folder)
    model = Predictor(bundle, engine=task.engine, precision=task.precision)
    each = model_patch_ms(model)
    cases: list[CaseCost] = []
    rest_per_voxel = 0.0
    for shape in task.shapes:
        windows = sum(windows_of(shape, one.plan) for one in bundle.stages)
        computing = _computing_seconds(model, shape, each)
        foretold = computing + rest_per_voxel * prod(shape.grid)
        seconds = _case_seconds(model, shape) if foretold < MOST_SECONDS else None
        if seconds is not None and not cases:
            rest_per_voxel = max(0.0, seconds - computing) / prod(shape.grid)
        cases.append(
            CaseCost(
                case=shape.name, grid=shape.grid, windows=windows,
                seconds=foretold if seconds is None else seconds, is_measured=seconds is not None,
            )
        )  # fmt: skip
    return _Found(each, peak_memory_gb(), tuple(cases))


def _candidates(bundle: Bundle) -> Iterator[tuple[EngineName, Wanted, EngineCost]]:
    """All engines, with what their records say of them.

    Raises:
        CorruptEngine: If the record of an engine cannot be read.
    """
    folder = Path(bundle.folder or "")
    dice = (bundle.metrics.get("dice") or {}).get("mean")
    size = (folder / WEIGHTS_FILE).stat().st_size / 1e6
    precisions: list[Wanted] = ["fp32"]
    if torch.cuda.is_available() or torch.cpu._is_amx_tile_supported():
        precisions.append("bf16")
    for precision in precisions:
        known = dice if precision == "fp32" else None
        yield (
            "torch",
            precision,
            EngineCost(engine=f"torch {precision}", megabytes=size, dice=known),
        )
    for place in engines_of(bundle):
        exported = read_engine(place)
        if exported is None:
            continue
        record = exported.record
        judged = record.accuracy.dice if record.accuracy else None
        yield (
            record.kind,
            record.precision,
            EngineCost(
                engine=record.name,
                megabytes=sum(file.bytes for file in record.files.values()) / 1e6,
                dice=judged.engine if judged else dice if record.precision == "fp32" else None,
                dice_change=judged.change if judged else None,
            ),
        )


def _measured(task: _Task, row: EngineCost) -> EngineCost:
    """The row of an engine with what it takes, or with why it does not run."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            found = pool.submit(measure, task).result()
        except MedsegError as error:
            return row.model_copy(update={"refused": str(error)})
        except BrokenProcessPool:
            return row.model_copy(update={"refused": "Its process was ended: too little memory?"})
    return row.model_copy(update=found._asdict())


def _computing_seconds(model: Predictor, shape: CaseShape, patch_ms: float) -> float:
    """The time of all windows through all networks; those of a first stage count like others."""
    stages = model.bundle.stages
    first = sum(len(one.members) for one in model.bundle.configurations)
    each = patch_ms / 1e3 / first
    return each * sum(len(stage.members) * windows_of(shape, stage.plan) for stage in stages)


def _case_seconds(model: Predictor, shape: CaseShape) -> float:
    """Wall time of one case of noise; the second, where the first one was short."""
    plan, generator = model.bundle.plan, np.random.default_rng(0)
    noise = generator.standard_normal((len(plan.channels), *shape.grid), dtype=np.float32)
    names = tuple(channel.name for channel in plan.channels)
    volume = Volume(100 * noise, Geometry.from_spacing(shape.spacing_mm, shape.grid), names)
    seconds = model.predict(volume).seconds
    return model.predict(volume).seconds if seconds < MOST_SECONDS / 10 else seconds
