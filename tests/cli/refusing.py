"""A command that must fail, and small images, labels and a plan to spoil."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from typer.testing import CliRunner, Result

from medseg.cli.app import app
from medseg.dataset.description import Channel
from medseg.dataset.plan import Plan, ZScore
from medseg.specs import (
    AugmentSpec,
    Budget,
    LossSpec,
    PlainUNetSpec,
    RecipeSpec,
    WindowSpec,
)
from medseg.volume.labels import Label

GRID = (12, 12, 8)
QUICK = ("--gflops", "50", "--memory", "1G", "--device", "cpu")


def run(*words: str | Path) -> Result:
    """What `medseg WORDS` answers."""
    return CliRunner().invoke(app, [str(word) for word in words])


def refused(code: str, *words: str | Path, at: Path) -> str:
    """The one sentence of a command that must fail so; nothing half is left below `at`."""
    answer = run(*words)
    assert answer.exit_code == 1, answer.output
    assert isinstance(answer.exception, SystemExit), repr(answer.exception)
    said = [line for line in answer.stderr.splitlines() if line.startswith("error [")]
    assert len(said) == 1, answer.stderr
    assert said[0].startswith(f"error [{code}]: "), said
    assert not [path for path in at.rglob(".*") if path.name.startswith((".partial", ".replaced"))]
    return said[0]


def image(seed: int = 0, grid: tuple[int, ...] = GRID) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 20, grid).astype(np.float32)


def mask(*values: int, grid: tuple[int, ...] = GRID) -> np.ndarray:
    """Blocks of these values, one after the other along the first axis."""
    labels = np.zeros(grid, np.int32)
    for n, value in enumerate(values):
        labels[4 * n : 4 * n + 3, 2:8, 1:6] = value
    return labels


def write(path: Path, array: np.ndarray, spacing_mm: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    nib.save(nib.Nifti1Image(array, affine, dtype=array.dtype), path)
    return path


def write_label(path: Path, *values: int) -> Path:
    return write(path, mask(*values).astype(np.uint8))


def make_plan() -> Plan:
    patch = (8, 8, 8)
    return Plan(
        dataset="phantom", config="3d_full", channels=(Channel(name="T1", modality="MR"),),
        labels=(Label(value=1, name="one"), Label(value=2, name="two")),
        normalisations=(ZScore(),), orientation="RAS", spacing_mm=(1.0, 1.0, 1.0),
        crop_to_nonzero=False, patch_size=patch,
        network=PlainUNetSpec(
            dims=3, in_channels=1, classes=3, features=(4, 8), kernels=((3, 3, 3),) * 2,
            strides=((1, 1, 1), (2, 2, 2)), encoder_convs=(1, 1), decoder_convs=(1,),
        ),
        loss=LossSpec(), augment=AugmentSpec(), recipe=RecipeSpec(),
        window=WindowSpec(patch_size=patch), median_grid=GRID,
        budget=Budget(epochs=1, memory_bytes=1 << 30, gflops=50.0),
    )  # fmt: skip


def edit(file: Path, change: Callable[[dict], object]) -> None:
    """Change a JSON file in place."""
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
