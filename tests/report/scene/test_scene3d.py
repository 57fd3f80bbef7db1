import json
import re
from pathlib import Path

import numpy as np
import pytest
from balls import TWO, image_of, two_structures

from chromium import Chromium, needs_chromium, share_of_colour
from medseg.errors import CannotWrite
from medseg.report.scene.scene import make_scene
from medseg.report.scene.scene3d import page_of, write_scene
from medseg.report.scene.viewed import read_viewed
from medseg.report.scores.names import read_labels
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap

READY = "document.body.dataset.ready"


BRIGHT_OF_AXIAL_SLICE = """(() => {
  const slice = plot.data.find(t => t.type === 'surface' && t.meta.axis === 2);
  const [most] = [Math.max(...slice.surfacecolor.flat())];
  const seen = slice.surfacecolor.flatMap((row, v) => row.flatMap((grey, u) =>
    grey > 0.5 * most ? [[slice.x[v][u], slice.y[v][u], slice.z[v][u]]] : []));
  return [0, 1, 2].map(n => seen.reduce((sum, place) => sum + place[n], 0) / seen.length);
})()"""
"""Middle of what is bright in the axial slice, in RAS millimetres."""


def press(text: str) -> str:
    """A script that clicks on a button."""
    return f"[...document.querySelectorAll('button')].find(b => b.textContent === '{text}').click()"


def told(page: str) -> dict:
    return json.loads(re.search(r'id="scene">(.*?)</script>', page)[1])


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "page.html"
    reference = two_structures()
    masks = {"prediction": two_structures(shift=2), "reference": reference}
    write_scene(path, image=image_of(reference), masks=masks, title="case 7")
    return path


def test_the_page_asks_for_nothing_from_elsewhere(compared: Path) -> None:
    page = re.sub(r'id="program">.*?</script>', "", compared.read_text(), flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert "default-src 'none'" in page
    assert compared.stat().st_size < 2_600_000


def test_the_script_is_told_what_there_is(compared: Path) -> None:
    scene = told(compared.read_text())
    assert scene["maps"] == ["prediction", "reference"]
    assert [label["name"] for label in scene["labels"]] == ["ball", "box"]
    assert scene["labels"][0]["ml"] == pytest.approx([0.945, 0.945])
    assert len(scene["meshes"]) == 4
    assert scene["measured"]
    assert scene["colour"] == "structure"
    assert scene["texture"]["size"] == [24, 20, 16]


def test_distance_is_shown_first_where_it_was_measured() -> None:
    two = make_scene(None, {"prediction": two_structures(shift=1), "reference": two_structures()})
    assert told(page_of(two, distance=True))["colour"] == "distance"
    one = make_scene(None, {"mask": two_structures()})
    assert told(page_of(one, distance=True))["colour"] == "structure"


def test_names_are_text_and_never_markup() -> None:
    mask = two_structures()
    nasty = Label(value=1, name="</script><b>x")
    scene = make_scene(
        None, {"mask": LabelMap(mask.array, mask.geometry, (nasty, TWO))}, title="<i>case</i>"
    )
    page = page_of(scene)
    assert "</script><b>x" not in page
    assert "<i>case</i>" not in page
    assert told(page)["labels"][0]["name"] == "</script><b>x"


def test_a_hundred_structures_stay_within_their_budget() -> None:
    array = np.zeros((40, 40, 28), np.uint8)
    for value in range(1, 105):
        i, j, k = (value - 1) % 6 * 6, (value - 1) // 6 % 6 * 6, (value - 1) // 36 * 9
        array[i + 1 : i + 6, j + 1 : j + 6, k + 1 : k + 8] = value
    labels = tuple(Label(value=n, name=f"l{n}") for n in range(1, 105))
    geometry = Geometry.from_spacing((1.0, 1.0, 1.0), array.shape)
    scene = make_scene(None, {"mask": LabelMap(array, geometry, labels)}, most_triangles=20_000)
    assert scene.triangles <= 20_000
    assert len(scene.shown[0].surfaces) == 104
    assert len(page_of(scene)) < 3_000_000


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="Results are written to"):
        write_scene(tmp_path / "file" / "page.html", image=None, masks={"mask": two_structures()})


@needs_chromium
def test_a_browser_shows_and_moves_it(compared: Path, tmp_path: Path) -> None:
    """Both scenes hold both structures; hiding, slices and distances change what is seen."""
    with Chromium(tmp_path, size=(1000, 640)) as browser:
        browser.open(compared, until=READY)
        plot = np.s_[60:580, :640]
        first = browser.picture()[plot]
        for half in (first[:, :320], first[:, 320:]):
            assert share_of_colour(half, "#0072b2") > 0.005
            assert share_of_colour(half, "#e69f00") > 0.005
        text = browser.run("document.body.innerText")
        for words in ("case 7", "ball", "box", "prediction, ml", "0.95", "Axial", "Side by side"):
            assert words in text
        wide = "e => e.scrollWidth > e.clientWidth + 1"
        assert browser.run(f"[...document.querySelectorAll('button, td, h1')].filter({wide})") == []
        browser.run("document.querySelectorAll('#legend tbody input')[1].click()")
        browser.wait("plot.data.filter(t => t.meta?.label === 7).every(t => t.visible === false)")
        hidden = browser.picture()[plot]
        assert share_of_colour(hidden, "#e69f00") < 0.001
        browser.run("document.querySelectorAll('#legend tbody input')[1].click()")
        slider = "document.querySelectorAll('#slices input[type=range]')[0]"
        browser.run(f"{slider}.value = 2; {slider}.dispatchEvent(new Event('input'))")
        browser.wait("plot.data.find(t => t.type === 'surface' && t.meta.axis === 2).z[0][0] < 34")
        browser.run(press("Overlaid") + ";" + press("Distance"))
        browser.wait("plot.data.some(t => t.intensity) && !plot.layout.scene2")
        assert "distance, mm" in browser.run("plot.textContent")
        browser.run(press("Dark"))
        browser.wait("document.documentElement.dataset.theme === 'dark'")
        assert browser.picture()[100, 5].max() < 40
        assert browser.requests == []
        assert browser.complaints == []


@needs_chromium
def test_an_image_alone_is_three_slices_on_dark_paper(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    mask = two_structures()
    write_scene(page, image=image_of(mask).reoriented("PIL"), masks={}, title="alone")
    bright = np.argwhere(mask.array[:, :, 8] > 0).mean(axis=0)
    expected = mask.geometry.index_to_world(np.array([*bright, 8.0]))
    with Chromium(tmp_path / "profile", size=(800, 600), dark=True) as browser:
        browser.open(page, until=READY)
        picture = browser.picture()
        assert browser.run("plot.data.filter(t => t.type === 'surface' && t.visible).length") == 3
        found = browser.run(BRIGHT_OF_AXIAL_SLICE)
        np.testing.assert_allclose(found, expected, atol=0.3)
        for plane in ("#cc79a7", "#009e73", "#e69f00"):
            assert share_of_colour(picture[60:540, :440], plane, within=30) > 0.0005
        assert picture[100, 5].max() < 40
        assert browser.run("document.getElementById('legend').hidden")
        assert browser.complaints == []


@pytest.mark.data
def test_a_real_ct_of_41_structures(data_root: Path, tmp_path: Path) -> None:
    folder = data_root / "ct_totalseg"
    viewed = read_viewed(
        folder / "example_ct_sm.nii.gz",
        folder / "example_seg.nii.gz",
        labels=read_labels(folder / "labels.json"),
    )
    page = tmp_path / "page.html"
    scene = write_scene(page, image=viewed.image, masks=viewed.masks, title=viewed.title)
    assert len(scene.shown[0].surfaces) == 41
    assert scene.texture is not None
    assert (scene.texture.low, scene.texture.high) == (-160.0, 240.0)
    liver = next(one for one in scene.shown[0].surfaces if one.label.name == "liver")
    assert liver.volume_ml == pytest.approx(1043.1, rel=0.002)
    assert page.stat().st_size < 3_700_000
