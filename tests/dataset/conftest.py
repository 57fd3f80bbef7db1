"""Tiny data sets with known content, for all tests of this room."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.dataset.description import DatasetDescription, read_case, read_case_label
from medseg.dataset.importers import open_dataset
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume

GRID = (12, 14, 10)
LABELS = (Label(value=1, name="ball"), Label(value=2, name="shell"))


def make_phantom(seed: int, grid=GRID, spacing_mm=(1.0, 1.0, 1.5)) -> tuple[Volume, LabelMap]:
    """A ball in a shell, off-centre, in noise: image (1, I, J, K) float32 and its labels."""
    generator = np.random.default_rng(seed)
    centre = np.array(grid) / 2 + generator.uniform(-1, 1, 3)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid), indexing="ij"), axis=-1)
    distance = np.linalg.norm(index - centre, axis=-1)
    labels = np.where(distance < 2, 1, np.where(distance < 3.5, 2, 0)).astype(np.uint8)
    image = 100 * labels + generator.normal(50, 10, grid)
    geometry = Geometry.from_spacing(spacing_mm, grid)
    return Volume(image.astype(np.float32)[None], geometry), LabelMap(labels, geometry, LABELS)


def write_msd(root: Path, cases: int = 6) -> Path:
    """An MSD folder of `cases` phantoms, and one image without a label in imagesTs."""
    training = []
    for n in range(cases + 1):
        image, labels = make_phantom(n)
        part = "Tr" if n < cases else "Ts"
        write_volume(image, root / f"images{part}" / f"phantom_{n:03d}.nii.gz")
        if n < cases:
            write_label_map(labels, root / "labelsTr" / f"phantom_{n:03d}.nii.gz")
            names = {kind: f"./{kind}sTr/phantom_{n:03d}.nii.gz" for kind in ("image", "label")}
            training.append(names)
    table = {
        "name": "Phantom",
        "licence": "CC0",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "ball", "2": "shell"},
        "training": training,
        "test": [f"./imagesTs/phantom_{cases:03d}.nii.gz"],
    }
    (root / "dataset.json").write_text(json.dumps(table))
    return root


@pytest.fixture
def tiny_dataset(tmp_path: Path) -> Path:
    """An MSD folder of six labelled phantoms of 12 x 14 x 10 voxels and one without a label."""
    return write_msd(tmp_path / "Task99_Phantom")


@pytest.fixture
def phantom():
    """`phantom(seed, grid=..., spacing_mm=...)` gives an image and its label map."""
    return make_phantom


@pytest.fixture
def scans(tmp_path: Path, phantom) -> Callable[..., Path]:
    """`scans("a/x.nii.gz", ...)` writes images, `labels=(...)` label maps, below tmp_path/data."""
    root = tmp_path / "data"

    def write(*images: str, labels: Iterable[str] = ()) -> Path:
        for n, name in enumerate(images):
            write_volume(phantom(n)[0], root / name)
        for n, name in enumerate(labels):
            write_label_map(phantom(n)[1], root / name)
        return root

    return write


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[[dict[str, np.ndarray]], Path]:
    """`pictures({"images/a.png": array})` writes pictures, below tmp_path/pictures."""
    root = tmp_path / "pictures"

    def write(arrays: dict[str, np.ndarray]) -> Path:
        for name, array in arrays.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / name)
        return root

    return write


@pytest.fixture
def opens() -> Callable[[Path], DatasetDescription]:
    """Open a data set, and read every case of it."""

    def read_all(root: Path) -> DatasetDescription:
        description = open_dataset(root)
        for case in description.cases:
            volume, labels = read_case(description, case), read_case_label(description, case)
            assert volume.channel_names == description.channel_names
            assert volume.geometry.same_space(labels.geometry)
        return description

    return read_all
