import base64
import gzip

import numpy as np

from medseg.report.scene.mesh import Surface
from medseg.report.scene.packing import Pack, add_surface, box_around, packed, plotly_program
from medseg.volume.labels import Label


def surface(vertices: int = 5) -> Surface:
    generator = np.random.default_rng(0)
    places = generator.uniform(-80, 200, (vertices, 3)).astype(np.float32)
    corners = generator.integers(0, vertices, (7, 3)).astype(np.int32)
    return Surface(Label(value=1, name="one"), places, corners)


def unpacked(text: str) -> bytes:
    return gzip.decompress(base64.b64decode(text))


def test_packing_can_be_undone_and_is_the_same_each_time() -> None:
    assert unpacked(packed(b"abc" * 100)) == b"abc" * 100
    assert packed(b"abc") == packed(b"abc")


def test_vertices_come_back_within_half_a_step() -> None:
    one, pack = surface(), Pack()
    pack.add(np.zeros(3, np.uint8))
    box = box_around([one])
    distances = np.array([0, 1, 2, 3, 9], np.float32)
    told = add_surface(pack, one, box, distances, 4.0)
    content = unpacked(pack.text())
    steps = np.frombuffer(content, "<u2", 15, told["places_at"]).reshape(3, 5)
    places = np.asarray(box.low_mm)[:, None] + steps * np.asarray(box.step_mm)[:, None]
    assert np.abs(places.T - one.vertices_mm).max() <= 0.51 * max(box.step_mm) + 1e-5
    corners = np.frombuffer(content, "<u2", 21, told["corners_at"]).reshape(3, 7)
    np.testing.assert_array_equal(corners.T, one.triangles)
    share = np.frombuffer(content, "<u2", 5, told["distances_at"]) / 65535
    np.testing.assert_allclose(share * 4.0, [0, 1, 2, 3, 4], atol=1e-4)


def test_large_surfaces_have_wide_corners() -> None:
    pack, many = Pack(), surface(70_000)
    told = add_surface(pack, many, box_around([many]), None, 1.0)
    assert told["wide"]
    assert "distances_at" not in told
    corners = np.frombuffer(unpacked(pack.text()), "<u4", 21, told["corners_at"]).reshape(3, 7)
    np.testing.assert_array_equal(corners.T, many.triangles)


def test_nothing_lies_in_a_box_of_one_millimetre() -> None:
    assert box_around([]).step_mm == (1.0, 1.0, 1.0)


def test_plotly_is_whole_and_says_its_licence() -> None:
    program = unpacked(plotly_program()).decode()
    assert "plotly.js" in program[:200]
    assert "MIT license" in program[:300]
    assert len(plotly_program()) < 2_500_000
