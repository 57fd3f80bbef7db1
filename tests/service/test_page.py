"""The page in a browser: files go in, a mask comes out in colour, with and without WebGL 2."""

import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from fake_service import FakeService, app_of, served, write_phantom
from PIL import Image

from chromium import Chromium, needs_chromium, share_of_colour

CONNECTED = "document.getElementById('connection').textContent === 'Connected'"
SHOWN = "document.body.dataset.shown && !document.getElementById('facts').hidden"
PAINTED = "new Promise(done => requestAnimationFrame(() => setTimeout(() => done(true), 60)))"
WITHOUT_WEBGL = ("--disable-3d-apis",)
ORANGE, BLUE = "#e69f00", "#56b4e9"
LAPTOP, TABLET = (1366, 800), (768, 1024)

PICTURES = Path(__file__).resolve().parents[2] / "build" / "page"
"""Where each run leaves what it saw, to be looked at."""

FAULTS = """(() => {
  const faults = [];
  for (const e of document.querySelectorAll("button, input, select, a, progress, [role=img]")) {
    if (!e.checkVisibility()) continue;
    const named = e.textContent.trim() || e.ariaLabel || e.getAttribute("aria-labelledby")
      || e.labels?.length;
    if (!named) faults.push("without a name: " + e.outerHTML.slice(0, 80));
    if (e.matches("button, a") && e.scrollWidth > e.clientWidth + 1 && !e.matches(".job"))
      faults.push("cut off: " + e.textContent);
  }
  if (document.documentElement.scrollWidth > innerWidth) faults.push("the page is too wide");
  return faults;
})()"""


@pytest.fixture
def fake(tmp_path: Path) -> FakeService:
    (tmp_path / "data").mkdir()
    return FakeService(tmp_path / "data")


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    return write_phantom(tmp_path / "head.nii.gz")


@contextmanager
def opened(
    fake: FakeService, tmp_path: Path, *, size: tuple[int, int] = LAPTOP, dark: bool = False,
    flags: tuple[str, ...] = (), until: str = CONNECTED,
) -> Iterator[Chromium]:  # fmt: skip
    """The page in a browser; whatever it complains of fails the test."""
    profile = tmp_path / "profile"
    with (
        served(app_of(fake)) as address,
        Chromium(profile, size=size, dark=dark, flags=flags) as browser,
    ):
        browser.visit(address, until=until)
        yield browser
        assert [one for one in browser.complaints if "status of 40" not in one] == []
        assert [one for one in browser.requests if not one.startswith(address)] == []


def text_of(browser: Chromium, name: str) -> str:
    return str(browser.run(f"document.getElementById('{name}').textContent"))


def stage_of(browser: Chromium) -> np.ndarray:
    """What the viewer shows, without the page around it."""
    browser.wait("!document.querySelector('#picture [aria-busy]')")
    browser.run(PAINTED)
    left, top, right, bottom = browser.run(
        "(() => { const r = document.getElementById('stage').getBoundingClientRect();"
        "return [r.left, r.top, r.right, r.bottom].map(Math.round) })()"
    )
    return browser.picture()[max(0, top) : bottom, left:right]


def click(browser: Chromium, name: str) -> None:
    browser.run(f"document.getElementById('{name}').click()")


def keep(browser: Chromium, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    Image.fromarray(browser.picture()).save(PICTURES / f"{name}.png")


def set_opacity(browser: Chromium, percent: int) -> None:
    browser.run(
        f"(e => {{ e.value = {percent}; e.dispatchEvent(new Event('input')) }})"
        "(document.getElementById('opacity'))"
    )


def plane(browser: Chromium, name: str) -> None:
    browser.run(
        f"[...document.querySelectorAll('#planes button')].find(b => b.textContent === '{name}')"
        ".click()"
    )


@needs_chromium
def test_a_nifti_is_sent_segmented_and_shown_in_colour(
    fake: FakeService, phantom: Path, tmp_path: Path
) -> None:
    with opened(fake, tmp_path) as browser:
        assert text_of(browser, "model") == "phantom"
        browser.choose("#files", [phantom])
        browser.wait(SHOWN)
        assert fake.sent == [["1.nii.gz"]]  # what it was called stays here
        assert browser.run("document.body.dataset.shown") == "VolumeView"
        keep(browser, "volume")
        set_opacity(browser, 100)
        stage = stage_of(browser)
        tiles = [half for side in np.array_split(stage, 2) for half in np.array_split(side, 2, 1)]
        coloured = [
            tuple(share_of_colour(tile, colour) > 0.01 for colour in (ORANGE, BLUE))
            for tile in tiles
        ]
        assert coloured[1:] == [(True, True)] * 3  # sagittal, axial and space hold both
        facts = text_of(browser, "facts")
        for words in ("Anterior", "Posterior", "Worth a look", "larger than in 99 of 100",
                      "DICOM-SEG", "40 x 48 x 32 voxels"):  # fmt: skip
            assert words in facts
        ml = fake.jobs["00000001-0000"]["result"]["volumes_ml"]["Anterior"]
        assert f"{ml:.2f}" in facts
        assert browser.run(FAULTS) == []

        plane(browser, "Axial")
        assert share_of_colour(stage_of(browser), BLUE) > 0.01
        browser.run("document.querySelector('#structures tr:nth-child(2) input').click()")
        stage = stage_of(browser)
        assert share_of_colour(stage, BLUE, within=25) < 0.004  # the cross is blue, too
        assert share_of_colour(stage, ORANGE) > 0.01
        set_opacity(browser, 0)
        assert share_of_colour(stage_of(browser), ORANGE) < 0.001
        plane(browser, "3D")
        stage = stage_of(browser)
        assert share_of_colour(stage, ORANGE) > 0.01
        assert share_of_colour(stage, BLUE) < 0.001


@needs_chromium
@pytest.mark.slow
def test_when_the_graphics_card_gives_up_the_service_draws(
    fake: FakeService, phantom: Path, tmp_path: Path
) -> None:
    with opened(fake, tmp_path) as browser:
        browser.choose("#files", [phantom])
        browser.wait(SHOWN)
        browser.run("document.querySelector('#structures tr:nth-child(2) input').click()")
        browser.run("document.querySelector('#picture canvas').getContext('webgl2')"
                    ".getExtension('WEBGL_lose_context').loseContext()")  # fmt: skip
        browser.wait("document.body.dataset.shown === 'SliceView'")
        assert "the graphics card gave up" in text_of(browser, "case-note")
        set_opacity(browser, 100)
        stage = stage_of(browser)
        assert share_of_colour(stage, ORANGE) > 0.01
        assert share_of_colour(stage, BLUE) < 0.001


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [LAPTOP, TABLET, (420, 900)], ids=["laptop", "tablet", "phone"])
def test_without_webgl_slices_are_drawn_by_the_service(
    fake: FakeService, phantom: Path, tmp_path: Path, size: tuple[int, int], dark: bool
) -> None:
    with opened(fake, tmp_path, size=size, dark=dark, flags=WITHOUT_WEBGL) as browser:
        assert browser.run(FAULTS) == []
        paper = browser.run("getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(14, 17, 20)" if dark else "rgb(243, 245, 246)")
        browser.choose("#files", [phantom])
        browser.wait(SHOWN)
        assert browser.run("document.body.dataset.shown") == "SliceView"
        keep(browser, f"slices-{size[0]}-{'dark' if dark else 'light'}")
        assert "no WebGL 2" in text_of(browser, "case-note")
        browser.run("document.getElementById('stage').scrollIntoView()")
        set_opacity(browser, 100)
        stage = stage_of(browser)
        assert share_of_colour(stage, ORANGE) > 0.01
        assert share_of_colour(stage, BLUE) > 0.01
        assert browser.run(FAULTS) == []

        first = text_of(browser, "slice-value")
        browser.run("document.querySelector('#picture canvas').focus()")
        browser.press("ArrowDown")
        assert text_of(browser, "slice-value") != first
        plane(browser, "Coronal")
        assert text_of(browser, "slice-value").endswith("/ 48")
        click(browser, "all")
        assert text_of(browser, "all") == "Show all"
        assert share_of_colour(stage_of(browser), ORANGE) < 0.001


@needs_chromium
@pytest.mark.slow
def test_a_dropped_folder_is_walked_and_a_zip_is_sent_as_it_is(
    fake: FakeService, phantom: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    for n in range(120):  # a browser lists a hundred entries of a folder at a time
        (study / f"series{n % 3}").mkdir(parents=True, exist_ok=True)
        (study / f"series{n % 3}" / f"a{n:03}.nii.gz").write_bytes(phantom.read_bytes())
        (study / f"b{n:03}.nii.gz").write_bytes(phantom.read_bytes())
    (study / ".DS_Store").write_text("x")
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as packed:
        packed.write(phantom, "head.nii.gz")
    fake.stage_seconds = 0.2
    with opened(fake, tmp_path, flags=WITHOUT_WEBGL) as browser:
        browser.drop([study], (600, 400))
        browser.wait(SHOWN)
        assert len(fake.sent[0]) == 240
        assert text_of(browser, "case-title") == "study"
        browser.drop([tmp_path / "study.zip"], (600, 400))
        browser.wait("!document.getElementById('failure').hidden")
        assert fake.sent[1] == ["1.zip"]
        message = text_of(browser, "failure-message")
        assert "must be a whole NIfTI file" in message
        assert text_of(browser, "failure-code") == "Code file-unreadable"
        assert len(browser.run("[...document.querySelectorAll('.job')].map(e => e.innerText)")) == 2


@needs_chromium
@pytest.mark.slow
def test_a_key_is_asked_for_once_and_sent_with_everything(
    fake: FakeService, phantom: Path, tmp_path: Path
) -> None:
    fake.key = "ms_1_secret"
    asked = "document.getElementById('key-dialog').open"
    with opened(fake, tmp_path, flags=WITHOUT_WEBGL, until=asked) as browser:
        click(browser, "key-cancel")
        browser.wait("document.getElementById('forget').checkVisibility()")
        assert "Without a key" in text_of(browser, "connection")
        assert text_of(browser, "forget") == "Enter a key"
        click(browser, "forget")
        browser.wait(asked)
        for key in ("wrong", "ms_1_secret"):
            browser.run(f"document.getElementById('key').value = '{key}'")
            browser.run("document.getElementById('key-form').requestSubmit()")
            if key == "wrong":
                browser.wait(f"{asked} && document.getElementById('key').value === ''")
                assert "does not know this key" in text_of(browser, "key-note")
        browser.wait(CONNECTED)
        browser.choose("#files", [phantom])
        browser.wait(SHOWN)
        set_opacity(browser, 100)
        assert share_of_colour(stage_of(browser), ORANGE) > 0.01
        assert browser.run("localStorage.length") == 0
        assert browser.run("location.hash") == "#00000001-0000"
        browser.run("history.replaceState(null, '', '#none'); location.reload()")
        browser.wait("!document.getElementById('failure').hidden")
        assert text_of(browser, "failure-title") == "This result cannot be shown"
        assert "no such job" in text_of(browser, "failure-message")


@needs_chromium
@pytest.mark.slow
def test_a_job_is_followed_cancelled_and_tried_again(
    fake: FakeService, phantom: Path, tmp_path: Path
) -> None:
    fake.stage_seconds = 4.0
    with opened(fake, tmp_path, flags=WITHOUT_WEBGL) as browser:
        browser.choose("#files", [phantom])
        browser.wait("document.getElementById('stage-name').textContent === 'Receiving the study'")
        browser.wait("document.getElementById('stage-bar').value > 0.2")
        assert browser.run("document.querySelectorAll('.job progress').length") == 1
        fake.stage_seconds = 0.05
        click(browser, "cancel")
        browser.wait("!document.getElementById('failure').hidden")
        assert text_of(browser, "failure-title") == "Cancelled: no mask was made"
        time.sleep(1.5)  # the fake one looks at its state between steps
        click(browser, "retry")
        browser.wait(SHOWN)
        assert fake.jobs["00000001-0000"]["attempts"] == 2
        assert "Attempts2" in text_of(browser, "record")


@needs_chromium
@pytest.mark.slow
def test_all_of_it_is_reached_with_keys(fake: FakeService, phantom: Path, tmp_path: Path) -> None:
    where = "document.activeElement.id || document.activeElement.textContent.trim()"
    with opened(fake, tmp_path, flags=WITHOUT_WEBGL) as browser:
        browser.choose("#files", [phantom])
        browser.wait(SHOWN)
        seen = []
        for _ in range(26):
            browser.press("Tab")
            if browser.run("document.activeElement === document.body"):
                continue  # between the last and the first element lies the browser's own bar
            seen.append(browser.run(where) or browser.run("document.activeElement.tagName"))
            outline = browser.run("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", seen[-1]
        for name in ("theme", "choose-files", "choose-folder", "opacity", "slice", "CANVAS", "all"):
            assert name in seen
        browser.run("document.querySelector('#planes [aria-checked=true]').focus()")
        browser.press("ArrowRight")
        assert browser.run(where) == "Coronal"
        assert browser.run("document.activeElement.getAttribute('aria-checked')") == "true"
        browser.run("document.getElementById('theme').focus()")
        browser.press("Enter")
        assert browser.run("document.documentElement.dataset.theme") == "dark"


@needs_chromium
@pytest.mark.slow
def test_a_service_that_went_away_is_told_and_found_again(
    fake: FakeService, tmp_path: Path
) -> None:
    with opened(fake, tmp_path, flags=WITHOUT_WEBGL) as browser:
        fetch = "window.kept = window.fetch; window.fetch = () => Promise.reject(new TypeError())"
        browser.run(fetch)
        browser.wait("document.getElementById('connection').className.includes('bad')", seconds=20)
        assert "does not answer" in text_of(browser, "connection")
        browser.run("window.fetch = window.kept")
        browser.wait(CONNECTED, seconds=20)
