"""Small volumes, and DICOM series that can be spoiled in one place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from medseg.volume.dicom import write_series
from medseg.volume.geometry import Geometry
from medseg.volume.volume import Volume

Change = Callable[[Any, int], None]


def tiny_volume(size: tuple[int, int, int] = (5, 4, 6), seed: int = 0) -> Volume:
    affine = np.array([[-0.5, 0, 0, 30.25], [0, -0.75, 0, 40.5], [0, 0, 2.5, -120.0], [0, 0, 0, 1]])
    values = np.random.default_rng(seed).integers(-900, 2000, (1, *size)).astype(np.int16)
    return Volume(values, Geometry(affine, size))


@pytest.fixture
def volume() -> Volume:
    return tiny_volume()


@pytest.fixture
def series(tmp_path: Path, volume: Volume) -> Path:
    """A CT series of six slices 2.5 mm apart, 5 columns and 4 rows."""
    folder = tmp_path / "series"
    write_series(volume, folder, modality="CT", patient_name="Phantom^One", patient_id="1")
    return folder


@pytest.fixture
def spoil(series: Path) -> Callable[[Change], Path]:
    """Change each header by its index along K; the file names say nothing afterwards."""

    def change_all(change: Change) -> Path:
        for k, path in enumerate(sorted(series.iterdir())):
            dataset = pydicom.dcmread(path)
            change(dataset, k)
            dataset.save_as(series / f"{(k * 7) % 11}-{k}")
            path.unlink()
        return series

    return change_all
