import io

import numpy as np
import pytest
from balls import ball, two_structures
from PIL import Image

from chromium import share_of_colour
from medseg.report.scene.mesh import surfaces_of
from medseg.report.scene.scene import Scene, make_scene
from medseg.report.scene.still import render_png, scene_png


def pixels_of(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.fixture(scope="module")
def pair() -> Scene:
    masks = {"prediction": two_structures(shift=2), "reference": two_structures()}
    return make_scene(None, masks, title="case 7")


def test_a_ball_is_a_disc_in_the_middle() -> None:
    pixels = pixels_of(render_png(surfaces_of(ball(10.0)), (120, 100), colours={1: "#0072b2"}))
    assert pixels.shape == (100, 120, 4)
    cover = pixels[..., 3] > 127
    assert cover.mean() == pytest.approx(np.pi * 46**2 / 12000, rel=0.04)
    rows, columns = np.nonzero(cover)
    assert (rows.mean(), columns.mean()) == pytest.approx((49.5, 59.5), abs=1.0)
    assert share_of_colour(pixels[..., :3], "#0072b2") > 0.4
    assert pixels[0, 0].tolist() == [0, 0, 0, 0]


def test_nothing_gives_an_empty_picture() -> None:
    assert not pixels_of(render_png((), (40, 30), colours={})).any()


def test_right_and_left_are_seen_from_the_right_sides() -> None:
    """From the front the patient's right is on the left; structure 7 lies further to the right."""
    surfaces = surfaces_of(two_structures())
    colours = {1: "#ff0000", 7: "#0000ff"}

    def side(look: str) -> float:
        pixels = pixels_of(render_png(surfaces, (120, 100), colours=colours, look=look)).astype(int)  # type: ignore[arg-type]
        columns = np.arange(120)
        red = np.clip(pixels[..., 0] - pixels[..., 2], 0, None).sum(axis=0)
        blue = np.clip(pixels[..., 2] - pixels[..., 0], 0, None).sum(axis=0)
        return float(np.average(columns, weights=red) - np.average(columns, weights=blue))

    assert side("front") > 20
    assert side("back") < -20
    assert side("above") < -20
    assert side("below") > 20


def test_a_scene_shows_both_maps_their_names_and_a_legend(pair: Scene) -> None:
    pixels = pixels_of(scene_png(pair, (600, 400)))[..., :3]
    assert pixels.shape == (400, 600, 3)
    assert pixels[0, 300].tolist() == [247, 248, 248]
    for colour in ("#0072b2", "#e69f00"):
        for half in (pixels[:, :240], pixels[:, 240:480]):
            assert share_of_colour(half, colour) > 0.02
    legend = pixels[:, 500:]
    assert share_of_colour(legend, "#0072b2") > 0.0005
    assert (legend.max(axis=2) < 60).any(), "names of structures in ink"


def test_distances_have_a_bar_and_no_colours_of_structures(pair: Scene) -> None:
    pixels = pixels_of(scene_png(pair, (600, 400), distance=True, dark=True))[..., :3]
    assert pixels[0, 300].tolist() == [16, 19, 23]
    assert share_of_colour(pixels, "#e69f00", within=25) < 0.001
    bar = pixels[350:362, 200:410]
    assert share_of_colour(bar, "#fde725") > 0.01
    assert share_of_colour(pixels[:340], "#440154") > 0.02


def test_a_scene_without_surfaces_is_paper() -> None:
    mask = two_structures()
    scene = make_scene(None, {"mask": type(mask)(mask.array * 0, mask.geometry, mask.labels)})
    pixels = pixels_of(scene_png(scene, (300, 300)))[..., :3]
    assert (pixels == pixels[0, 0]).all()


def test_the_same_scene_gives_the_same_bytes(pair: Scene) -> None:
    assert scene_png(pair, (320, 300)) == scene_png(pair, (320, 300))
