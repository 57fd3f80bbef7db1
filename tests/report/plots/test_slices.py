import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from medseg.report.plots.slices import (
    best_plane,
    cut_through,
    data_uri,
    outlines,
    picture_of,
    svg_path,
)
from medseg.report.plots.triptych import draw
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume


@pytest.mark.parametrize(
    ("spacing_mm", "size", "axis"),
    [
        ((1.0, 1.0, 1.0), (9, 9, 9), 2),
        ((1.0, 1.0, 5.0), (9, 9, 9), 2),
        ((5.0, 1.0, 1.0), (9, 9, 9), 0),
        ((1.0, 1.0, 1.0), (9, 9, 1), 2),
        ((1.0, 1.0, 9.0), (9, 1, 9), 1),
    ],
)
def test_slices_lie_across_the_coarsest_axis(spacing_mm, size, axis):
    assert best_plane(spacing_mm, size) == axis


def test_a_cut_shows_the_slice_with_most_wrong_and_all_that_is_held():
    wrong, held = np.zeros((100, 90, 9), bool), np.zeros((100, 90, 9), bool)
    wrong[50:52, 50:52, 3], wrong[50:60, 50:60, 7], held[30:70, 40:60] = True, True, True
    cut = cut_through(wrong, held, (1.0, 1.0, 3.0))
    assert (cut.axis, cut.index) == (2, 7)
    assert cut.columns == (16, 84)
    assert cut.rows == (30, 70)
    assert cut.of(wrong).shape == (40, 68)


def test_an_outline_runs_along_the_border_and_around_holes():
    mask = np.zeros((6, 8), bool)
    mask[0:5, 0:5] = True
    mask[2, 2] = False
    lines = outlines(mask)
    assert len(lines) == 2
    outer = max(lines, key=len)
    assert outer.min() == pytest.approx(0.0)
    assert outer.max(axis=0) == pytest.approx([5.0, 5.0])


def test_a_path_has_whole_numbers_and_only_corners():
    mask = np.zeros((6, 8), bool)
    mask[0:5, 1:6] = True
    path = svg_path(mask)
    numbers = [int(word) for word in re.findall(r"-?\d+", path)]
    corners = np.cumsum(np.reshape(numbers, (-1, 2)), axis=0)
    assert path.count("M") == path.count("z") == 1
    assert corners.min(axis=0).tolist() == [2, 0]
    assert corners.max(axis=0).tolist() == [12, 10]
    assert len(corners) in (8, 9)


def test_small_pictures_are_kept_exactly_and_large_ones_small():
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30), dtype=np.uint8)
    head, content = data_uri(pixels).split(",")
    assert head == "data:image/png;base64"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))), pixels)
    assert data_uri(np.zeros((400, 400), np.uint8)).startswith("data:image/jpeg")


def test_a_colour_picture_stays_in_colour_and_the_right_way_up():
    array = np.zeros((3, 5, 4, 1), np.uint8)
    array[0, 0, 0, 0] = 255
    geometry = Geometry(np.diag([-1.0, -1.0, 1.0, 1.0]), (5, 4, 1))
    volume = Volume(array, geometry, ("red", "green", "blue")).reoriented("LPI")
    everything = np.ones((5, 4, 1), bool)
    pixels = picture_of(volume, cut_through(everything, everything, (1.0, 1.0, 1.0)))
    assert pixels.shape == (4, 5, 3)
    assert pixels[0, 0].tolist() == [255, 0, 0]


def test_the_patients_left_lies_on_the_right_and_the_front_on_top():
    geometry = Geometry.from_spacing((1.0, 1.0, 1.0), (10, 10, 3))
    array = np.zeros((10, 10, 3), np.uint8)
    array[9, 9, 1] = 1
    labels = (Label(value=1, name="spot"),)
    image = np.where(array, 1000, 0).astype(np.float32)[np.newaxis]
    empty = LabelMap(np.zeros_like(array), geometry, labels)
    drawing = draw("x", empty, LabelMap(array, geometry, labels), Volume(image, geometry), labels)
    content = base64.b64decode(drawing.image.split(",")[1])
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    assert drawing.letters == ("R", "L", "A", "P")
    assert drawing.where == "Axial slice 2 of 3, where most voxels are wrong"
    # RAS index (9, 9) is the patient's right and front: the upper left corner.
    assert np.unravel_index(pixels.argmax(), pixels.shape) == (0, 0)
