"""Three identical balls, of which the first is the organ: only who sees all of them can tell."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medseg.bundle import Bundle, load_bundle
from medseg.dataset.description import Case, Channel, DatasetDescription, read_case, read_case_label
from medseg.dataset.plan import Plan, ZScore
from medseg.inference.predict import Predictor
from medseg.specs import (
    AugmentSpec,
    Budget,
    LossSpec,
    MaskAugmentSpec,
    MirrorSpec,
    PlainUNetSpec,
    RecipeSpec,
    WindowSpec,
)
from medseg.training import prepare
from medseg.training.crossval import train
from medseg.training.run import RunSettings
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume

ORGAN = (Label(value=1, name="organ"),)
GRID = Geometry.from_spacing((1.0, 1.0, 1.0), (32, 80, 32))
APART = 22
"""Voxels from ball to ball: more than a patch of 16 sees."""


def write_row(folder: Path, n: int) -> Case:
    """Three bright balls in a row, somewhere."""
    generator = np.random.default_rng(n)
    front = generator.uniform((8, 10, 8), (24, 70 - 2 * APART, 24))
    at = np.stack(np.indices(GRID.grid_size), axis=-1)
    balls = [np.linalg.norm(at - front - (0, n * APART, 0), axis=-1) < 4 for n in range(3)]
    image = 2.0 * np.any(balls, axis=0) + generator.normal(scale=0.3, size=GRID.grid_size)
    case = Case(id=f"row_{n}", images=(folder / f"{n}.nii.gz",), label=folder / f"l{n}.nii.gz")
    write_volume(Volume(image[None].astype(np.float32), GRID), case.images[0])
    write_label_map(LabelMap(balls[0].astype(np.uint8), GRID, ORGAN), folder / f"l{n}.nii.gz")
    return case


def plan_of(config: str, spacing_mm: float, patch: tuple[int, int, int], widths: tuple[int, ...]):  # type: ignore[no-untyped-def]
    stages, is_cascade = len(widths), config == "cascade"
    return Plan(
        dataset="Rows",
        config=config,  # type: ignore[arg-type]
        channels=(Channel(name="T1", modality="MR"),),
        labels=ORGAN,
        normalisations=(ZScore(inside_nonzero=False),),
        orientation="RAS",
        spacing_mm=(spacing_mm,) * 3,
        crop_to_nonzero=False,
        patch_size=patch,
        network=PlainUNetSpec(
            dims=3,
            in_channels=2 if is_cascade else 1,
            classes=2,
            features=widths,
            kernels=((3, 3, 3),) * stages,
            strides=((1, 1, 1), *((2, 2, 2),) * (stages - 1)),
            encoder_convs=(2,) * stages,
            decoder_convs=(1,) * (stages - 1),
        ),
        loss=LossSpec(batch_dice=True),
        augment=AugmentSpec(mirror=MirrorSpec(axes=(0,)), rotation_degrees=(5.0, 5.0, 5.0)),
        # A ball is one part, and radii are for larger structures.
        mask_augment=MaskAugmentSpec(operator_radius_voxels=(1, 1), removal_probability=0.05)
        if is_cascade
        else None,
        recipe=RecipeSpec(ema_decay=0.95, learning_rate=5e-3, foreground_share=0.1),
        window=WindowSpec(patch_size=patch),
        budget=Budget(epochs=1, memory_bytes=1 << 30, gflops=100.0),
        median_grid=GRID.grid_size,
    )


LOW = plan_of("3d_low", 2.0, (16, 40, 16), (8, 16, 32))
FULL = plan_of("3d_full", 1.0, (16, 16, 16), (8, 16))
CASCADE = plan_of("cascade", 1.0, (16, 16, 16), (8, 16))


@pytest.fixture
def rows(tmp_path: Path) -> DatasetDescription:
    return DatasetDescription(
        name="Rows",
        channels=(Channel(name="T1", modality="MR"),),
        labels=ORGAN,
        cases=tuple(write_row(tmp_path, n) for n in range(20)),
    )


def dice_of(bundle: Bundle, data: DatasetDescription, cases: tuple[Case, ...]) -> float:
    predictor, found = Predictor(bundle, device="cpu"), []
    for case in cases:
        mask = predictor.predict(read_case(data, case)).label_map.array > 0
        truth = read_case_label(data, case).array > 0
        found.append(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
    return float(np.mean(found))


@pytest.mark.slow
def test_a_cascade_tells_what_a_patch_cannot(
    rows: DatasetDescription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(prepare, "make_plan", lambda *_, **__: LOW)
    seen = rows.model_copy(update={"cases": rows.cases[:14]})
    settings = RunSettings(epochs=60, precision="fp32", device="cpu")
    train(seen, tmp_path / "plain", settings, plan=FULL)
    train(seen, tmp_path / "run", settings, plan=CASCADE)
    plain, cascade = (
        dice_of(load_bundle(tmp_path / name), rows, rows.cases[14:]) for name in ("plain", "run")
    )
    assert plain < 0.6
    assert cascade > 0.9
