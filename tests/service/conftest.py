"""A service in a folder of its own, with a bundle that exists only as far as it is described."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_service import Finisher, describe_bundle, open_tiny_service

from medseg.service.service import Service
from medseg.volume.dicom import write_series
from medseg.volume.geometry import Geometry
from medseg.volume.volume import Volume


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return describe_bundle(tmp_path_factory.mktemp("bundle") / "phantom")


@pytest.fixture
def service(tmp_path: Path, bundle_folder: Path) -> Iterator[Service]:
    """Nobody is asked who they are, and jobs wait for ever."""
    opened = open_tiny_service(tmp_path / "held", bundle_folder)
    yield opened
    opened.close()


@pytest.fixture
def finisher(service: Service) -> Finisher:
    """Carries out jobs at once, with a mask of whatever is bright."""
    return Finisher(service)


@pytest.fixture
def write_study(tmp_path: Path) -> Callable[..., list[Path]]:
    """Write a series of a few slices; its files."""

    def write(name: str = "study", *, seed: int = 0, **words: Any) -> list[Path]:
        values = np.random.default_rng(seed).integers(0, 900, (1, 6, 5, 4)).astype(np.int16)
        volume = Volume(values, Geometry.from_spacing((1.0, 1.0, 2.0), (6, 5, 4)))
        words = {"modality": "MR", "patient_name": "Phantom^One", "patient_id": "P1"} | words
        write_series(volume, tmp_path / name, **words)
        return sorted((tmp_path / name).iterdir())

    return write
