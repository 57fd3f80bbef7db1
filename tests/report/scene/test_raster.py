import numpy as np
import pytest

from medseg.report.scene.raster import draw_triangles, shade

LAMP = np.array([0.0, 0.0, 1.0])
LIGHT = np.array([0.25, 0.5, 0.0])
FACING = np.tile([0.0, 0.0, 1.0], (3, 1))


def drawn(*layers: tuple[float, tuple[float, float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """One right triangle over the upper left half of 8 x 8 pixels for each height and colour."""
    pixels, depth = np.zeros((8, 8, 4)), np.full((8, 8), -np.inf)
    for height, colour in layers:
        places = np.array([[0, 0, height], [7, 0, height], [0, 7, height]], float)
        triangle = np.array([[0, 1, 2]], np.int32)
        draw_triangles(
            places, FACING, np.tile(np.array(colour, float), (3, 1)), triangle, LAMP, LIGHT,
            pixels, depth,
        )  # fmt: skip
    return pixels, depth


def test_pixels_within_are_covered_and_no_others() -> None:
    pixels, depth = drawn((1.0, (1, 0, 0)))
    rows, columns = np.indices((8, 8))
    np.testing.assert_array_equal(pixels[..., 3] == 1, rows + columns <= 7)
    assert (depth[rows + columns > 7] == -np.inf).all()
    np.testing.assert_allclose(pixels[1, 1], [0.75, 0, 0, 1])


def test_the_nearest_wins_in_any_order() -> None:
    red, blue = (2.0, (1.0, 0.0, 0.0)), (5.0, (0.0, 0.0, 1.0))
    for layers in ((red, blue), (blue, red)):
        pixels, depth = drawn(*layers)
        assert pixels[2, 2, 2] > 0
        assert pixels[2, 2, 0] == 0
        assert depth[2, 2] == 5.0


def test_colours_and_heights_run_from_corner_to_corner() -> None:
    pixels, depth = np.zeros((9, 9, 4)), np.full((9, 9), -np.inf)
    places = np.array([[0, 0, 0], [8, 0, 8], [0, 8, 0]], float)
    colours = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], float)
    triangle = np.array([[0, 1, 2]], np.int32)
    draw_triangles(places, FACING, colours, triangle, LAMP, LIGHT, pixels, depth)
    assert depth[0, 4] == pytest.approx(4.0)
    np.testing.assert_allclose(pixels[2, 2, :3], np.array([0.25, 0.25, 0]) * 0.75)


def test_a_triangle_seen_from_its_edge_or_outside_draws_nothing() -> None:
    pixels, depth = np.zeros((8, 8, 4)), np.full((8, 8), -np.inf)
    triangle = np.array([[0, 1, 2]], np.int32)
    for places in ([[0, 0, 1], [4, 4, 1], [7, 7, 1]], [[20, 20, 1], [30, 20, 1], [20, 30, 1]]):
        draw_triangles(
            np.array(places, float), FACING, np.ones((3, 3)), triangle, LAMP, LIGHT, pixels, depth
        )
    assert not pixels.any()


def test_light_by_hand() -> None:
    pixel, white = np.zeros(4), np.ones(3)
    for normal, expected in (((0, 0, 1), 0.75), ((0, 0, -1), 0.75), ((1, 0, 0), 0.25)):
        shade(np.array(normal, float), white, LAMP, LIGHT, pixel)
        np.testing.assert_allclose(pixel, [expected] * 3 + [1])
    shade(np.zeros(3), white, LAMP, LIGHT, pixel)
    np.testing.assert_allclose(pixel[:3], 0.25)
    shade(np.array([0.0, 0, 2]), white, LAMP, np.array([0.5, 0.5, 0.5]), pixel)
    np.testing.assert_allclose(pixel[:3], 1.0)
