import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.report.scene.mesh_kernels import least_distances, smoothed, triangles_at, way_to

TRIANGLE = np.array([[0.0, 0, 0], [4, 0, 0], [0, 3, 0]])
numbers = st.floats(-6, 6, allow_nan=False)


def plain_distance(point: np.ndarray) -> float:
    """The least distance to many points of the triangle."""
    u, v = np.meshgrid(np.linspace(0, 1, 241), np.linspace(0, 1, 241))
    u, v = u[u + v <= 1], v[u + v <= 1]
    a, b, c = TRIANGLE
    spread = a + u[:, None] * (b - a) + v[:, None] * (c - a)
    return float(np.linalg.norm(spread - point, axis=1).min())


@pytest.mark.parametrize(
    ("point", "distance"),
    [
        ((1, 1, 5), 5.0), ((-3, -4, 0), 5.0), ((6, 0, 0), 2.0), ((0, 5, 0), 2.0),
        ((2, -1, 0), 1.0), ((-1, 1, 0), 1.0), ((1, 1, 0), 0.0),
    ],
)  # fmt: skip
def test_distances_to_a_triangle_by_hand(point: tuple[int, int, int], distance: float) -> None:
    way = way_to(np.array(point, float), *TRIANGLE)
    assert np.linalg.norm(way) == pytest.approx(distance)


@given(x=numbers, y=numbers, z=numbers)
def test_distances_to_a_triangle_are_those_to_its_points(x: float, y: float, z: float) -> None:
    point = np.array([x, y, z])
    assert np.linalg.norm(way_to(point, *TRIANGLE)) == pytest.approx(
        plain_distance(point), abs=0.02
    )


def test_a_triangle_without_area_is_its_edge() -> None:
    a, b = np.zeros(3), np.array([4.0, 0, 0])
    assert np.linalg.norm(way_to(np.array([2.0, 3, 0]), a, b, b)) == pytest.approx(3.0)
    assert np.linalg.norm(way_to(np.array([2.0, 3, 0]), a, a, a)) == pytest.approx(13**0.5)


def test_every_triangle_is_listed_at_its_corners() -> None:
    triangles = np.array([[0, 1, 2], [1, 3, 2]], np.int32)
    begin, listed = triangles_at(triangles, 4)
    assert [sorted(listed[begin[n] : begin[n + 1]].tolist()) for n in range(4)] == [
        [0], [0, 1], [0, 1], [1],
    ]  # fmt: skip


def test_least_distances_look_at_all_that_is_near() -> None:
    triangles = np.array([[0, 1, 2]], np.int32)
    begin, listed = triangles_at(triangles, 3)
    points = np.array([[1.0, 1, 2], [6, 0, 0]])
    near = np.array([[0], [1]])
    found = least_distances(points, near, TRIANGLE, triangles, begin, listed)
    np.testing.assert_allclose(found, [2.0, 2.0])


def test_smoothing_holds_each_vertex_within_its_room() -> None:
    generator = np.random.default_rng(0)
    vertices = generator.uniform(0, 9, (40, 3))
    triangles = generator.integers(0, 40, (90, 3)).astype(np.int32)
    room = np.repeat([0.0, 0.5], 20)
    moved = smoothed(vertices, triangles, room, np.array([1.0, 2.0, 0.5]), 20)
    np.testing.assert_array_equal(moved[:20], vertices[:20])
    assert np.abs(moved - vertices).max() <= 0.5 + 1e-12
    assert np.abs(moved - vertices).max() > 0.4
    assert smoothed(vertices, triangles[:0], room, np.ones(3), 3) == pytest.approx(vertices)
