import json
import math

import numpy as np
import pytest
from recorded import KEPT

from medseg.metrics.elements import contour_lengths, surface_areas

RECORDED = json.loads(KEPT.read_text(encoding="utf-8"))


def spacing_of(words):
    return tuple(float(word) for word in words.split())


@pytest.mark.parametrize("words", RECORDED["areas"])
def test_all_256_areas_are_those_of_surface_distance(words):
    areas = surface_areas(spacing_of(words))
    assert areas.shape == (256,)
    assert areas == pytest.approx(RECORDED["areas"][words], abs=1e-12)


@pytest.mark.parametrize("words", RECORDED["lengths"])
def test_all_16_lengths_are_those_of_surface_distance(words):
    lengths = contour_lengths(spacing_of(words))
    assert lengths == pytest.approx(RECORDED["lengths"][words], abs=1e-12)


def test_areas_are_those_of_the_package_at_any_spacing():
    tables = pytest.importorskip("surface_distance.lookup_tables", reason="the peer is not here")
    generator = np.random.default_rng(0)
    for _ in range(10):
        spacing_mm = tuple(generator.uniform(0.2, 6.0, 3))
        areas = tables.create_table_neighbour_code_to_surface_area(spacing_mm)
        lengths = tables.create_table_neighbour_code_to_contour_length(spacing_mm[:2])
        assert surface_areas(spacing_mm) == pytest.approx(areas, abs=1e-12)
        assert contour_lengths(spacing_mm[:2]) == pytest.approx(lengths, abs=1e-12)


def test_one_voxel_is_an_octahedron_and_one_pixel_a_rhombus():
    a, b, c = spacing_mm = (2.0, 3.0, 5.0)
    corner_codes = [128 >> n for n in range(8)]
    triangle = math.sqrt((b * c) ** 2 + (a * c) ** 2 + (a * b) ** 2) / 8
    assert surface_areas(spacing_mm)[corner_codes] == pytest.approx([triangle] * 8)
    assert contour_lengths((a, b))[[1, 2, 4, 8]] == pytest.approx([math.hypot(a, b) / 2] * 4)


def test_a_flat_face_has_the_area_of_the_face():
    assert surface_areas((2.0, 3.0, 5.0))[0b11110000] == pytest.approx(15.0)
    assert surface_areas((2.0, 3.0, 5.0))[0b11001100] == pytest.approx(10.0)
    assert surface_areas((2.0, 3.0, 5.0))[0b10101010] == pytest.approx(6.0)


def test_inside_and_outside_may_change_places():
    areas, lengths = surface_areas((0.7, 1.3, 2.9)), contour_lengths((0.7, 1.3))
    assert areas == pytest.approx(areas[::-1])
    assert lengths == pytest.approx(lengths[::-1])


def test_areas_grow_with_the_square_of_the_unit_and_only_nothing_has_none():
    small, large = surface_areas((0.7, 1.3, 2.9)), surface_areas((7.0, 13.0, 29.0))
    assert large == pytest.approx(100 * small)
    assert (small[1:255] > 0).all()
    assert small[0] == small[255] == 0
