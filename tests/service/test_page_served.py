"""The page in front of the true service: a study is dropped, its mask comes out in colour."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from chromium import Chromium, needs_chromium, share_of_colour

DONE = "document.body.dataset.shown && !document.getElementById('facts').hidden"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """`medseg serve` on a free port, with the model in the box."""
    command = [sys.executable, "-m", "medseg", "serve", "--model", "hippocampus-mr",
               "--data", str(tmp_path / "data"), "--port", "0"]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        found = (re.search(r"http://[\d.]+:\d+", line) for line in process.stdout)
        yield next(one[0] for one in found if one) + "/"
    finally:
        process.terminate()
        process.communicate(timeout=30)


@needs_chromium
@pytest.mark.data
@pytest.mark.slow
def test_a_study_that_is_dropped_becomes_a_mask(
    address: str, data_root: Path, tmp_path: Path
) -> None:
    study = data_root / "dicom_hippocampus" / "Study1"
    with Chromium(tmp_path / "profile", size=(1366, 800)) as browser:
        browser.visit(address, until="document.getElementById('jobs-title')")
        browser.wait("document.getElementById('connection').textContent === 'Connected'")
        browser.drop([study], (160, 280))
        browser.wait(DONE, seconds=120)
        picture = browser.picture()[180:710, 340:1020]
        for colour in ("#0072b2", "#e69f00"):
            assert share_of_colour(picture, colour) > 0.01
        facts = browser.run("document.getElementById('facts').innerText")
        for words in ("Anterior", "Posterior", "Expected Dice", "hippocampus-mr", "35 x 51 x 32"):
            assert words in facts
        links = browser.run("[...document.querySelectorAll('#downloads a')].map(a => a.href)")
        assert [link.rsplit("/", 1)[-1] for link in links] == [
            "seg.dcm", "mask.nii.gz", "image.nii.gz", "measurements.dcm", "report.json"
        ]  # fmt: skip
        with urlopen(links[0]) as answer:
            assert answer.read(132)[128:] == b"DICM"
        assert browser.complaints == []
        assert [one for one in browser.requests if not one.startswith(address)] == []
