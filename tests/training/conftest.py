"""A data set of eight tiny blobs on disk, and a plan for it that trains in a second."""

from pathlib import Path

import numpy as np
import pytest

from medseg.dataset.description import Case, Channel, DatasetDescription
from medseg.dataset.plan import Plan, ZScore
from medseg.specs import (
    AugmentSpec,
    Budget,
    LossSpec,
    PlainUNetSpec,
    RecipeSpec,
    WindowSpec,
)
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume

LABELS = (Label(value=1, name="core"), Label(value=4, name="shell"))
GEOMETRY = Geometry.from_spacing((1.0, 1.0, 2.0), (14, 12, 10))


def write_blob(folder: Path, n: int) -> Case:
    """A bright ball in a grey shell, somewhere in the grid."""
    generator = np.random.default_rng(n)
    centre = generator.uniform(4, 7, size=3)
    at = np.stack(np.indices(GEOMETRY.grid_size), axis=-1) - centre
    distance = np.linalg.norm(at, axis=-1)
    labels = np.where(distance < 1.8, 1, np.where(distance < 3.5, 4, 0)).astype(np.uint8)
    image = np.choose(labels.clip(max=2), (0.0, 3.0, 1.5)) + generator.normal(
        scale=0.1, size=labels.shape
    )
    case = Case(
        id=f"blob_{n}", images=(folder / f"blob_{n}.nii.gz",), label=folder / f"label_{n}.nii.gz"
    )
    write_volume(Volume(image[None].astype(np.float32), GEOMETRY), case.images[0])
    write_label_map(LabelMap(labels, GEOMETRY, LABELS), folder / f"label_{n}.nii.gz")
    return case


@pytest.fixture(scope="session")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> DatasetDescription:
    folder = tmp_path_factory.mktemp("blobs")
    return DatasetDescription(
        name="Blobs",
        channels=(Channel(name="T1", modality="MR"),),
        labels=LABELS,
        cases=tuple(write_blob(folder, n) for n in range(8)),
        licence="CC0-1.0",
    )


@pytest.fixture
def plan() -> Plan:
    return Plan(
        dataset="Blobs",
        config="3d_full",
        channels=(Channel(name="T1", modality="MR"),),
        labels=LABELS,
        normalisations=(ZScore(inside_nonzero=False),),
        orientation="RAS",
        spacing_mm=(1.0, 1.0, 2.0),
        crop_to_nonzero=False,
        patch_size=(8, 8, 8),
        network=PlainUNetSpec(
            dims=3,
            in_channels=1,
            classes=3,
            features=(6, 12),
            kernels=((3, 3, 3),) * 2,
            strides=((1, 1, 1), (2, 2, 2)),
            encoder_convs=(1, 1),
            decoder_convs=(1,),
        ),
        loss=LossSpec(),
        augment=AugmentSpec(),
        recipe=RecipeSpec(ema_decay=0.9, learning_rate=5e-3),
        window=WindowSpec(patch_size=(8, 8, 8)),
        budget=Budget(epochs=1, memory_bytes=1 << 30, gflops=100.0),
        median_grid=(14, 12, 10),
        fingerprint_hash="abc",
    )
