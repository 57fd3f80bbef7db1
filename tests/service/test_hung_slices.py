"""Slices as they hang: which way they look, what lies over them, and how much is kept."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.errors import DifferentSpace, LabelError, MissingPath, NotHeld
from medseg.service.slices import Hung, HungResults, ResultFiles
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume

LABELS = (Label(value=2, name="here", colour="#ff0000"), Label(value=5, name="there"))
ORIENTATIONS = ("RAS", "LPI", "PIR", "SAL")
NOTHING: frozenset[int] = frozenset()


def write_result(folder: Path, orientation: str = "RAS") -> ResultFiles:
    """Bright at the patient's right, front and head; a mask of both labels beside it."""
    geometry = Geometry.from_spacing((1.0, 2.0, 3.0), (8, 6, 5))
    array = np.full((1, 8, 6, 5), 100.0, np.float32)
    array[0, 6:] += 100
    array[0, :, 4:] += 200
    array[0, :, :, 4] += 400
    values = np.zeros((8, 6, 5), np.uint8)
    values[0, 0, 3] = 2
    values[5, 2, 3] = 5
    volume = Volume(array, geometry, ("MR",)).reoriented(orientation)
    write_volume(volume, folder / "image.nii.gz")
    mask = LabelMap(values, geometry, LABELS).reoriented(orientation)
    write_label_map(mask, folder / "mask.nii.gz")
    return ResultFiles(folder, LABELS)


def picture(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_right_hangs_on_the_left_and_front_or_head_on_top(tmp_path: Path, orientation: str) -> None:
    hung = Hung.of(write_result(tmp_path, orientation))
    axial = picture(hung.png("axial", 2, opacity=0, hidden=NOTHING)).astype(int)
    assert axial.shape == (6, 8)
    assert axial[:, 0].mean() > axial[:, -1].mean()
    assert axial[0].mean() > axial[-1].mean()
    for plane in ("coronal", "sagittal"):
        upright = picture(hung.png(plane, 2, opacity=0, hidden=NOTHING)).astype(int)
        assert upright[0].mean() > upright[-1].mean()
    assert picture(hung.png("axial", 0, opacity=0, hidden=NOTHING)).mean() > axial.mean()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_stacks_tell_size_letters_and_the_fullest_slice(tmp_path: Path, orientation: str) -> None:
    hung = Hung.of(write_result(tmp_path, orientation))
    axial, sagittal = hung.stack("axial"), hung.stack("sagittal")
    assert (axial.count, axial.rows, axial.columns, axial.pixel_mm) == (5, 6, 8, (1.0, 2.0))
    assert axial.letters == ("R", "L", "A", "P")
    assert axial.fullest == 1  # one below the head
    assert (sagittal.count, sagittal.rows, sagittal.columns) == (8, 5, 6)
    assert sagittal.letters == ("A", "P", "S", "I")
    assert sagittal.pixel_mm == (2.0, 3.0)


def test_the_file_says_how_large_its_pixels_are(tmp_path: Path) -> None:
    hung = Hung.of(write_result(tmp_path))
    image = Image.open(io.BytesIO(hung.png("axial", 0, opacity=0, hidden=NOTHING)))
    across, down = image.info["dpi"]
    assert across == pytest.approx(25.4, rel=1e-2)
    assert down == pytest.approx(12.7, rel=1e-2)


def test_the_mask_lies_over_the_image_as_strongly_as_asked(tmp_path: Path) -> None:
    hung = Hung.of(write_result(tmp_path))
    bare = picture(hung.png("axial", 1, opacity=0, hidden=NOTHING)).astype(float)
    half = picture(hung.png("axial", 1, opacity=0.5, hidden=NOTHING)).astype(float)
    full = picture(hung.png("axial", 1, opacity=1, hidden=NOTHING))
    assert full[5, 7].tolist() == [255, 0, 0]
    assert full[3, 2].tolist() == [0xE6, 0x9F, 0x00]  # second of the palette
    assert half[5, 7] == pytest.approx((bare[5, 7] + np.array([255, 0, 0])) / 2, abs=1)
    unmarked = np.ones((6, 8), bool)
    unmarked[5, 7] = unmarked[3, 2] = False
    assert (half[unmarked] == bare[unmarked][:, np.newaxis]).all()


def test_hidden_structures_show_the_image(tmp_path: Path) -> None:
    hung = Hung.of(write_result(tmp_path))
    bare = picture(hung.png("axial", 1, opacity=0, hidden=NOTHING))
    one = picture(hung.png("axial", 1, opacity=1, hidden=frozenset({2, 999, -7})))
    assert one[5, 7].tolist() == [bare[5, 7]] * 3
    assert one[3, 2].tolist() == [0xE6, 0x9F, 0x00]
    both = picture(hung.png("axial", 1, opacity=1, hidden=frozenset({2, 5})))
    assert (both == bare).all()


def test_a_picture_in_colour_keeps_its_colours(tmp_path: Path) -> None:
    array = np.zeros((3, 4, 4, 1), np.uint8)
    array[0, :2] = 200
    array[2, 2:] = 200
    geometry = Geometry.from_spacing((1.0, 1.0, 1.0), (4, 4, 1))
    write_volume(Volume(array, geometry, ("red", "green", "blue")), tmp_path / "image.nii.gz")
    mask = LabelMap(np.zeros((4, 4, 1), np.uint8), geometry, LABELS)
    write_label_map(mask, tmp_path / "mask.nii.gz")
    hung = Hung.of(ResultFiles(tmp_path, LABELS))
    assert hung.stack("axial").fullest == 0
    shown = picture(hung.png("axial", 0, opacity=0.5, hidden=NOTHING))
    assert shown[0, 3].tolist() == [200, 0, 0]
    assert shown[0, 0].tolist() == [0, 0, 200]


def test_an_empty_mask_opens_in_the_middle(tmp_path: Path) -> None:
    write_result(tmp_path)
    geometry = Geometry.from_spacing((1.0, 2.0, 3.0), (8, 6, 5))
    empty = LabelMap(np.zeros((8, 6, 5), np.uint8), geometry, LABELS)
    write_label_map(empty, tmp_path / "mask.nii.gz")
    assert Hung.of(ResultFiles(tmp_path, LABELS)).stack("axial").fullest == 2


@pytest.mark.parametrize("index", [-1, 5, 65_535])
def test_a_slice_that_is_not_there_is_refused(tmp_path: Path, index: int) -> None:
    hung = Hung.of(write_result(tmp_path))
    with pytest.raises(NotHeld, match="5 axial slices, counted from 0"):
        hung.png("axial", index, opacity=0.5, hidden=NOTHING)


def test_damage_is_told_and_never_shown(tmp_path: Path) -> None:
    result = write_result(tmp_path)
    with pytest.raises(LabelError, match="values 5"):
        Hung.of(ResultFiles(tmp_path, LABELS[:1]))
    other = Geometry.from_spacing((1.0, 2.0, 4.0), (8, 6, 5))
    moved = LabelMap(np.zeros((8, 6, 5), np.uint8), other, LABELS)
    write_label_map(moved, tmp_path / "mask.nii.gz")
    with pytest.raises(DifferentSpace, match="the image and its mask"):
        Hung.of(result)
    (tmp_path / "image.nii.gz").unlink()
    with pytest.raises(MissingPath, match=r"image\.nii\.gz"):
        Hung.of(result)


def test_results_are_read_once_and_let_go_of_when_there_are_too_many(tmp_path: Path) -> None:
    results = []
    for name in "abc":
        (tmp_path / name).mkdir()
        results.append(write_result(tmp_path / name))
    one = Hung.of(results[0]).size_bytes
    kept = HungResults(kept_bytes=2 * one)
    first = kept.of(results[0])
    assert kept.of(results[0]) is first
    second = kept.of(results[1])
    kept.of(results[0])
    kept.of(results[2])  # the second was looked at least lately
    assert kept.of(results[0]) is first
    assert kept.of(results[1]) is not second
    tiny = HungResults(kept_bytes=0)
    assert tiny.of(results[0]) is tiny.of(results[0])
