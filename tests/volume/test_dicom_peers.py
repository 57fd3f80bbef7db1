"""What other programs say about our DICOM; skipped, with a reason, where they are not installed."""

import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.volume.dicom import find_only_series, read_series_geometry, write_series
from medseg.volume.dicom_rtstruct import write_structures
from medseg.volume.dicom_seg import write_segmentation
from medseg.volume.dicom_sr import write_measurements
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Code, Label
from medseg.volume.volume import LabelMap, Volume

LABELS = (
    Label(value=1, name="Niere", kind=Code(value="64033007", meaning="Kidney")),
    Label(value=2, name="Tumor"),
    Label(value=3, name="not found"),
)


def tool(name, package):
    scripts = Path(sys.executable).parent  # where PyPI's packages put theirs
    path = shutil.which(name) or shutil.which(name, path=str(scripts))
    if path is None:
        pytest.skip(f"{name} of {package} is not installed")
    return path


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A series of each modality, its mask with a hole and a gap, and all that is made of it."""
    root = tmp_path_factory.mktemp("peers")
    values = np.random.default_rng(0).integers(-900, 900, (1, 32, 24, 8)).astype(np.int16)
    affine = np.array([[-0.5, 0, 0, 30], [0, -0.75, 0, 40], [0, 0, 2.5, -120], [0, 0, 0, 1.0]])
    write_series(
        Volume(values, Geometry(affine, (32, 24, 8))), root / "series",
        modality="CT", patient_name="Phantom^One", patient_id="1",
    )  # fmt: skip
    series = find_only_series(root / "series")
    array = np.zeros((32, 24, 8), np.uint8)
    array[3:20, 4:20, 1:6] = 1
    array[8:12, 8:12, 2:5] = 0
    array[25:28, 3:5, [1, 6]] = 2
    mask = LabelMap(array, read_series_geometry(series), LABELS)
    made_by = {"algorithm": "unit test", "version": "1"}
    for kind in ("binary", "fractional", "labelmap"):
        write_segmentation(mask, series, root / f"{kind}.dcm", kind=kind, **made_by)
    write_structures(mask, series, root / "rtstruct.dcm", **made_by)
    write_measurements(mask.volumes_ml(), series, root / "binary.dcm", root / "sr.dcm", **made_by)
    return root, mask


@pytest.mark.parametrize("name", ["binary", "fractional", "rtstruct", "sr"])
def test_dciodvfy_finds_no_error(written, name):
    folder, _ = written
    command = [tool("dciodvfy", "dicom3tools"), "-new", str(folder / f"{name}.dcm")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "Error" not in answer.stderr


@pytest.mark.parametrize("name", ["binary", "labelmap"])
def test_dcmqi_reads_the_same_voxels_at_the_same_place(written, name, tmp_path):
    folder, mask = written
    command = [
        tool("segimage2itkimage", "dcmqi"), "--inputDICOM", str(folder / f"{name}.dcm"),
        "--outputDirectory", str(tmp_path), "--prefix", name, "-t", "nii", "--mergeSegments",
    ]  # fmt: skip
    subprocess.run(command, capture_output=True, check=True)
    image = nib.load(tmp_path / f"{name}-1.nii.gz")
    theirs = LabelMap(
        np.asarray(image.dataobj).astype(np.uint8), Geometry(image.affine, image.shape), LABELS
    ).reoriented(mask.geometry.orientation)
    assert theirs.geometry.same_space(mask.geometry.cropped((0, 0, 1), (32, 24, 6)))
    assert np.array_equal(theirs.array, mask.array[:, :, 1:7])
