"""A folder of small references and of predictions that go wrong in known ways."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume

LABELS = (Label(value=1, name="core"), Label(value=2, name="rim"))
GEOMETRY = Geometry.from_spacing((1.0, 1.0, 2.0), (16, 14, 8))


def make_map(shift: int = 0, *, rim: bool = True, geometry: Geometry = GEOMETRY) -> LabelMap:
    """A box of two structures, moved along the first axis."""
    array = np.zeros(geometry.grid_size, np.uint8)
    array[3 + shift : 8 + shift, 3:10, 2:6] = 1
    if rim:
        array[8 + shift : 10 + shift, 3:10, 2:6] = 2
    return LabelMap(array, geometry, LABELS)


def write_case(root: Path, name: str, predicted: LabelMap | None, reference: LabelMap) -> None:
    """Write labelsTr, imagesTr and the prediction of one case."""
    write_label_map(reference, root / "labelsTr" / f"{name}.nii.gz")
    noise = np.random.default_rng(0).normal(100, 5, (1, *reference.array.shape))
    image = (noise + 40 * reference.array).astype(np.float32)
    write_volume(Volume(image, reference.geometry), root / "imagesTr" / f"{name}.nii.gz")
    if predicted is not None:
        write_label_map(predicted, root / "masks" / f"{name}.nii.gz")


@pytest.fixture
def boxes() -> SimpleNamespace:
    """What the study is made of, to change it."""
    return SimpleNamespace(
        labels=LABELS, geometry=GEOMETRY, make_map=make_map, write_case=write_case
    )


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Four cases: right, shifted, without rim, and one that was never predicted."""
    write_case(tmp_path, "a_right", make_map(), make_map())
    write_case(tmp_path, "b_shifted", make_map(1), make_map())
    write_case(tmp_path, "c_no_rim", make_map(rim=False), make_map())
    write_case(tmp_path, "d_forgotten", None, make_map(rim=False))
    return tmp_path
