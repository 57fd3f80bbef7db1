import io
from pathlib import Path

import numpy as np
import pytest
from balls import ONE, TWO, image_of, two_structures
from PIL import Image

from chromium import Chromium, needs_chromium, share_of_colour
from medseg.errors import DifferentSpace, InvalidGeometry
from medseg.report.scene.flat import flat_png, write_flat
from medseg.volume.geometry import Geometry, picture_geometry
from medseg.volume.volume import LabelMap, Volume

GEOMETRY = picture_geometry((60, 40, 1))


def flat_mask(*, shift: int = 0) -> LabelMap:
    array = np.zeros((60, 40, 1), np.uint8)
    array[5 + shift : 25 + shift, 5:30] = 1
    array[32 + shift : 50 + shift, 12:35] = 7
    return LabelMap(array, GEOMETRY, (ONE, TWO))


def grey() -> Volume:
    ramp = np.broadcast_to(np.arange(60, dtype=np.uint8)[:, None, None] * 4, (60, 40, 1))
    return Volume(ramp[np.newaxis], GEOMETRY)


def test_pixels_are_counted_and_maps_told_apart(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    masks = {"prediction": flat_mask(shift=2), "reference": flat_mask()}
    write_flat(page, image=grey(), masks=masks, title="<x>")
    text = page.read_text()
    assert text.count("<td>500</td>") == 2
    assert text.count('class="map1"') == 2
    assert "dashed lines the reference" in text
    assert "&lt;x&gt;" in text
    assert "default-src 'none'" in text


def test_an_empty_mask_is_said(tmp_path: Path) -> None:
    empty = LabelMap(np.zeros((60, 40, 1), np.uint8), GEOMETRY, (ONE,))
    write_flat(tmp_path / "page.html", image=grey(), masks={"mask": empty})
    assert "The mask is empty: it holds no structure." in (tmp_path / "page.html").read_text()


def test_a_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidGeometry, match=r"one slice.*24 x 20 x 16 voxels"):
        write_flat(tmp_path / "page.html", image=image_of(two_structures()), masks={})


def test_another_grid_is_refused(tmp_path: Path) -> None:
    other = LabelMap(np.ones((9, 9, 1), np.uint8), picture_geometry((9, 9, 1)), (ONE,))
    with pytest.raises(DifferentSpace, match="the image and the mask"):
        write_flat(tmp_path / "page.html", image=grey(), masks={"mask": other})
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("size", [(1, 30, 20), (30, 1, 20)])
def test_any_axis_may_be_the_thin_one(tmp_path: Path, size: tuple[int, int, int]) -> None:
    geometry = Geometry.from_spacing((1.0, 1.0, 2.0), size)
    image = Volume(np.zeros((1, *size), np.float32), geometry)
    write_flat(tmp_path / "page.html", image=image, masks={})
    assert "30 x 20 pixels" in (tmp_path / "page.html").read_text()


def test_the_still_has_the_pictures_shape_outlines_and_names() -> None:
    masks = {"prediction": flat_mask(shift=2), "reference": flat_mask()}
    pixels = np.asarray(Image.open(io.BytesIO(flat_png(grey(), masks, title="x-ray"))))[..., :3]
    assert pixels.shape[1] == 1000
    assert pixels.shape[0] == pytest.approx(667 + 65, abs=2)
    assert share_of_colour(pixels[35:702], "#e69f00", within=25) > 0.002
    assert (pixels[705:].max(axis=2) < 60).any(), "names in ink below"
    bare = np.asarray(Image.open(io.BytesIO(flat_png(grey(), {}))))
    assert bare.shape[:2] == (666, 1000)


@needs_chromium
def test_a_browser_shows_the_picture_and_hides_a_structure(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write_flat(page, image=grey(), masks={"mask": flat_mask()}, title="x-ray")
    with Chromium(tmp_path / "profile", size=(900, 600)) as browser:
        browser.open(page, until="document.querySelector('image')")
        first = browser.picture()[60:560, :540]
        assert share_of_colour(first, "#e69f00") > 0.002
        browser.run("document.querySelectorAll('input')[1].click()")
        hidden = browser.picture()[60:560, :540]
        assert share_of_colour(hidden, "#e69f00") < 0.0005
        assert share_of_colour(hidden, "#0072b2") > 0.0005
        assert browser.requests == []
        assert browser.complaints == []
