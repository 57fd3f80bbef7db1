from pathlib import Path

import numpy as np
import pytest
from balls import image_of, two_structures

from medseg.errors import DifferentSpace, MissingPath
from medseg.report.scene.viewed import read_viewed
from medseg.volume.dicom import find_only_series
from medseg.volume.dicom_seg import write_segmentation
from medseg.volume.dicom_write import write_series
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.volume import LabelMap, Volume

MASK = two_structures()


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "case_7.nii.gz"
    write_volume(image_of(MASK), path)
    return path


def saved(mask: LabelMap, path: Path) -> Path:
    write_label_map(mask, path)
    return path


def moved(mask: LabelMap, shift_mm: tuple[float, float, float]) -> LabelMap:
    affine = mask.geometry.affine.copy()
    affine[:3, 3] += shift_mm
    return LabelMap(mask.array, Geometry(affine, mask.geometry.grid_size), mask.labels)


def test_an_image_alone(scan: Path) -> None:
    viewed = read_viewed(scan)
    assert viewed.title == "case_7"
    assert viewed.masks == {}
    assert not viewed.is_flat


def test_one_mask_is_a_mask_and_two_are_prediction_and_reference(scan: Path) -> None:
    mask = saved(MASK, scan.parent / "mask.nii.gz")
    assert list(read_viewed(scan, mask).masks) == ["mask"]
    two = read_viewed(scan, mask, mask, labels=MASK.labels)
    assert list(two.masks) == ["prediction", "reference"]
    assert [label.name for label in two.masks["reference"].labels] == ["ball", "box"]


def test_names_come_from_the_record_beside_the_mask(scan: Path) -> None:
    mask = saved(MASK, scan.parent / "masks" / "mask.nii.gz")
    assert [x.name for x in read_viewed(scan, mask).masks["mask"].labels] == ["label_1", "label_7"]
    (mask.parent / "predictions.json").write_text('{"labels": {"liver": 1, "spleen": 7}}')
    assert [x.name for x in read_viewed(scan, mask).masks["mask"].labels] == ["liver", "spleen"]


@pytest.mark.parametrize("orientation", ["LPS", "SAR"])
def test_other_axes_are_turned_without_resampling(scan: Path, orientation: str) -> None:
    mask = saved(MASK.reoriented(orientation), scan.parent / "mask.nii.gz")
    found = read_viewed(scan, mask).masks["mask"]
    np.testing.assert_array_equal(found.array, MASK.array)


def test_a_mask_of_a_part_of_the_image_is_placed(scan: Path) -> None:
    box = (slice(2, 20), slice(3, 18), slice(2, 15))
    part = LabelMap(MASK.array[box], MASK.geometry.cropped((2, 3, 2), (18, 15, 13)), MASK.labels)
    found = read_viewed(scan, saved(part, scan.parent / "mask.nii.gz")).masks["mask"]
    np.testing.assert_array_equal(found.array, MASK.array)


def test_a_dicom_folder_with_its_segmentation(tmp_path: Path) -> None:
    image = image_of(MASK)
    whole = Volume(image.array.astype(np.int16), image.geometry)
    write_series(whole, tmp_path / "dicom", modality="MR", patient_name="A", patient_id="1")
    series = find_only_series(tmp_path / "dicom")
    write_segmentation(MASK, series, tmp_path / "mask.dcm", algorithm="test", version="1")
    viewed = read_viewed(tmp_path / "dicom", tmp_path / "mask.dcm")
    assert viewed.title == "dicom"
    assert viewed.masks["mask"].volumes_ml() == pytest.approx(MASK.volumes_ml())
    assert viewed.masks["mask"].geometry.same_space(viewed.image.geometry)


def test_another_grid_is_refused_with_both_grids_and_the_cure(scan: Path) -> None:
    mask = saved(moved(MASK, (0.4, 0, 0)), scan.parent / "mask.nii.gz")
    expected = (
        r"One grid must hold the image and the mask\. Received: image 24 x 20 x 16 voxels of "
        r"1 x 1 x 1\.5 mm, mask 24 x 20 x 16 voxels of 1 x 1 x 1\.5 mm, corners up to 0\.4 mm "
        r"apart\. Pass --resample to bring the mask onto the image's grid, by a vote\."
    )
    with pytest.raises(DifferentSpace, match=expected):
        read_viewed(scan, mask)
    with pytest.raises(DifferentSpace, match="the image and the reference"):
        read_viewed(scan, saved(MASK, scan.parent / "ok.nii.gz"), mask)


def test_resampling_brings_it_onto_the_image(scan: Path) -> None:
    mask = saved(moved(MASK, (0.4, 0, 0)), scan.parent / "mask.nii.gz")
    found = read_viewed(scan, mask, resample=True).masks["mask"]
    np.testing.assert_array_equal(found.array, MASK.array)


def test_a_mask_of_another_place_is_refused_even_then(scan: Path) -> None:
    mask = saved(moved(MASK, (500.3, 0, 0)), scan.parent / "mask.nii.gz")
    with pytest.raises(DifferentSpace, match="no structure of the mask within the image"):
        read_viewed(scan, mask, resample=True)


def test_a_missing_mask_is_said(scan: Path) -> None:
    with pytest.raises(MissingPath, match=r"The mask is a file\. Received: nothing at"):
        read_viewed(scan, scan.parent / "none.nii.gz")
