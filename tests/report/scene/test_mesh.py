import numpy as np
import pytest
from balls import ONE, TWO, ball

from medseg.errors import InvalidGeometry
from medseg.report.scene.mesh import Surface, decimated, distances_mm, surfaces_of
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap


def only(label_map: LabelMap) -> Surface:
    (surface,) = surfaces_of(label_map)
    return surface


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.8, 1.0, 2.5)])
def test_a_ball_keeps_its_volume_and_place(spacing_mm: tuple[float, float, float]) -> None:
    label_map = ball(12.0, spacing_mm=spacing_mm)
    surface = only(label_map)
    assert surface.volume_ml == pytest.approx(label_map.volumes_ml()["ball"], rel=0.01)
    away = np.linalg.norm(surface.vertices_mm, axis=1) - 12.0
    assert np.abs(away).max() < 0.87 * max(spacing_mm)
    np.testing.assert_allclose(surface.vertices_mm.mean(axis=0), 0, atol=0.1)


def test_smoothing_brings_a_ball_nearer_to_a_ball() -> None:
    """Marching cubes alone lie on edges of voxels: 0.17 mm off the ball in the mean."""
    away = np.linalg.norm(only(ball(12.0)).vertices_mm, axis=1) - 12.0
    assert np.abs(away).mean() < 0.13


def test_a_single_voxel_beside_a_large_part_is_not_smoothed_away() -> None:
    label_map = ball(8.0)
    array = label_map.array.copy()
    array[1, 1, 1] = 1
    whole = only(LabelMap(array, label_map.geometry, label_map.labels))
    centre = label_map.geometry.index_to_world(np.ones(3))
    near = whole.vertices_mm[np.linalg.norm(whole.vertices_mm - centre, axis=1) < 2]
    np.testing.assert_allclose(np.linalg.norm(near - centre, axis=1), 0.5, rtol=1e-5)
    assert len(near) == 6
    assert len(decimated([whole], most_triangles=400)[0].triangles) <= 400


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR", "SAL"])
def test_orientation_changes_nothing_in_space(orientation: str) -> None:
    label_map = ball(6.0, spacing_mm=(1.0, 1.5, 2.0), shift=1.0)
    straight, turned = only(label_map), only(label_map.reoriented(orientation))
    assert turned.volume_ml == pytest.approx(straight.volume_ml, rel=1e-3)
    assert turned.volume_ml > 0
    assert distances_mm(straight, turned).max() < 0.25, "only the diagonals of faces may differ"


def test_normals_point_outwards() -> None:
    surface = only(ball(8.0))
    outwards = surface.vertices_mm / np.linalg.norm(surface.vertices_mm, axis=1, keepdims=True)
    assert (np.einsum("ij,ij->i", surface.normals, outwards) > 0.5).all()


def test_surfaces_come_by_label_and_absent_ones_do_not() -> None:
    array = np.zeros((8, 8, 8), np.uint8)
    array[1:4, 1:4, 1:4], array[5:7, 5:7, 5:7] = 7, 1
    labels = (ONE, Label(value=3, name="absent"), TWO)
    geometry = Geometry.from_spacing((1.0, 1.0, 1.0), (8, 8, 8))
    found = surfaces_of(LabelMap(array, geometry, labels))
    assert [surface.label.name for surface in found] == ["ball", "box"]
    assert found[1].volume_ml == pytest.approx(0.027, rel=0.2)


def test_a_structure_at_the_edge_of_the_grid_is_closed() -> None:
    geometry = Geometry.from_spacing((1.0, 1.0, 1.0), (6, 6, 6))
    surface = only(LabelMap(np.ones((6, 6, 6), np.uint8), geometry, (ONE,)))
    assert surface.volume_ml == pytest.approx(0.216, rel=0.06)
    assert surface.vertices_mm.min() == pytest.approx(-0.5, abs=0.51)


def test_large_structures_are_made_coarser_first(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = only(ball(12.0, spacing_mm=(0.5, 0.5, 1.0)))
    monkeypatch.setattr("medseg.report.scene.mesh._MOST_CUBES", 8000)
    coarse = only(ball(12.0, spacing_mm=(0.5, 0.5, 1.0)))
    assert len(coarse.triangles) < len(fine.triangles) / 2
    assert coarse.volume_ml == pytest.approx(fine.volume_ml, rel=0.03)
    assert distances_mm(coarse, fine).max() < 1.0


def test_only_the_largest_of_too_many_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medseg.report.scene.mesh.MOST_STRUCTURES", 1)
    array = np.zeros((8, 8, 8), np.uint8)
    array[1:4, 1:4, 1:4], array[5:7, 5:7, 5:7] = 7, 1
    geometry = Geometry.from_spacing((1.0, 1.0, 1.0), (8, 8, 8))
    found = surfaces_of(LabelMap(array, geometry, (ONE, TWO)))
    assert [surface.label.name for surface in found] == ["box"]


def test_thinning_keeps_the_budget_and_the_shape() -> None:
    large, small = only(ball(14.0)), only(ball(5.0))
    thin = decimated([large, small], most_triangles=2000)
    assert sum(len(surface.triangles) for surface in thin) <= 2000
    assert len(thin[0].triangles) > len(thin[1].triangles) >= 200
    for before, after in zip((large, small), thin, strict=True):
        assert after.volume_ml == pytest.approx(before.volume_ml, rel=0.02)
        assert distances_mm(after, before).max() < 0.3
        assert after.label == before.label


def test_thinning_of_many_shares_what_there_is() -> None:
    surface = only(ball(6.0))
    thin = decimated([surface] * 20, most_triangles=1000)
    assert sum(len(one.triangles) for one in thin) <= 1000
    assert decimated([], most_triangles=10) == ()


def test_what_is_light_enough_stays_as_it_is() -> None:
    surface = only(ball(4.0))
    assert decimated([surface])[0] is surface


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_distances_of_two_balls_are_known(scale: float) -> None:
    steps = (scale, scale, scale)
    inner, outer = (
        only(ball(8.0 * scale, spacing_mm=steps)),
        only(ball(11.0 * scale, spacing_mm=steps)),
    )
    found = distances_mm(inner, outer)
    assert found.mean() == pytest.approx(3.0 * scale, abs=0.1 * scale)
    assert np.abs(found - 3.0 * scale).max() < 0.8 * scale


def test_a_surface_is_at_no_distance_from_itself() -> None:
    surface = only(ball(6.0))
    assert distances_mm(surface, surface).max() < 1e-5


def test_a_shifted_plane_is_as_far_as_it_was_shifted() -> None:
    corners = np.array([[0, 0, 0], [9, 0, 0], [0, 9, 0], [9, 9, 0]], np.float32)
    faces = np.array([[0, 1, 2], [1, 3, 2]], np.int32)
    floor = Surface(ONE, corners, faces)
    above = Surface(ONE, (corners * 0.5 + (2, 2, 4)).astype(np.float32), faces)
    np.testing.assert_allclose(distances_mm(above, floor), 4.0, rtol=1e-6)


def test_no_surface_without_triangles() -> None:
    points = np.zeros((3, 3), np.float32)
    with pytest.raises(InvalidGeometry, match="at least one triangle"):
        Surface(ONE, points, np.zeros((0, 3), np.int32))
    with pytest.raises(InvalidGeometry, match="Corners of triangles are vertices"):
        Surface(ONE, points, np.array([[0, 1, 3]], np.int32))
