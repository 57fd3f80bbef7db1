"""`medseg view`: pages, stills, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from medseg.cli.app import app
from medseg.volume.geometry import Geometry, picture_geometry
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume

SIZE = (20, 18, 12)
GEOMETRY = Geometry.from_spacing((1.0, 1.0, 2.0), SIZE)
LABELS = (Label(value=1, name="core"), Label(value=2, name="rim"))


def view(*words: object) -> Result:
    return CliRunner().invoke(app, ["view", *map(str, words)])


def mask(shift: int = 0) -> LabelMap:
    array = np.zeros(SIZE, np.uint8)
    array[4 + shift : 10 + shift, 4:12, 3:9] = 1
    array[10 + shift : 13 + shift, 4:12, 3:9] = 2
    return LabelMap(array, GEOMETRY, LABELS)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """scan, mask, reference and empty as .nii.gz, and labels.json."""
    noise = np.random.default_rng(0).normal(100, 9, (1, *SIZE)).astype(np.float32)
    write_volume(Volume(noise, GEOMETRY), tmp_path / "scan.nii.gz")
    write_label_map(mask(1), tmp_path / "mask.nii.gz")
    write_label_map(mask(), tmp_path / "reference.nii.gz")
    write_label_map(LabelMap(np.zeros(SIZE, np.uint8), GEOMETRY, LABELS), tmp_path / "empty.nii.gz")
    (tmp_path / "labels.json").write_text('{"core": 1, "rim": 2}')
    return tmp_path


def test_a_page_with_names(files: Path) -> None:
    out = files / "new" / "page.html"
    result = view(
        files / "scan.nii.gz", files / "mask.nii.gz", "--labels", files / "labels.json",
        "--out", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "core" in out.read_text()
    assert "MB)" in result.output


def test_json_says_what_was_drawn(files: Path) -> None:
    out, still = files / "page.html", files / "still.png"
    result = view(
        files / "scan.nii.gz", files / "mask.nii.gz", "--reference", files / "reference.nii.gz",
        "--labels", files / "labels.json", "--distance", "--still", still, "--out", out, "--json",
    )  # fmt: skip
    facts = json.loads(result.stdout)
    assert facts["structures"] == {"prediction": ["core", "rim"], "reference": ["core", "rim"]}
    assert facts["bytes"] == out.stat().st_size
    assert facts["triangles"] > 100
    assert facts["notes"] == []
    assert Image.open(still).size == (1200, 800)
    assert '"colour": "distance"' in out.read_text()


def test_an_empty_mask_is_a_note_and_slices(files: Path) -> None:
    result = view(
        files / "scan.nii.gz", files / "empty.nii.gz", "--out", files / "page.html", "--still",
        files / "still.png",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "The mask is empty: it holds no structure." in result.output
    assert "The mask is empty" in (files / "page.html").read_text()


def test_a_picture_of_one_slice_is_a_flat_page(tmp_path: Path) -> None:
    geometry = picture_geometry((30, 20, 1))
    array = np.zeros((30, 20, 1), np.uint8)
    write_volume(Volume(array[np.newaxis] + np.uint8(90), geometry), tmp_path / "photo.png")
    array[5:15, 5:15] = 1
    write_label_map(LabelMap(array, geometry, LABELS), tmp_path / "mask.png")
    result = view(
        tmp_path / "photo.png", tmp_path / "mask.png", "--out", tmp_path / "page.html", "--still",
        tmp_path / "still.png",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "<td>100</td>" in (tmp_path / "page.html").read_text()
    assert Image.open(tmp_path / "still.png").size[0] > 100


def test_another_grid_is_refused_and_resampled(files: Path) -> None:
    affine = GEOMETRY.affine.copy()
    affine[0, 3] += 0.3
    other = LabelMap(mask().array, Geometry(affine, SIZE), LABELS)
    write_label_map(other, files / "other.nii.gz")
    words = (files / "scan.nii.gz", files / "other.nii.gz", "--out", files / "page.html")
    result = view(*words)
    assert result.exit_code == 1
    assert "error [geometry-different]: One grid must hold the image and the mask." in result.output
    assert "Pass --resample" in result.output
    assert not (files / "page.html").exists()
    assert view(*words, "--resample").exit_code == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("none.nii.gz",), "error [file-missing]: An image must be there."),
        (("scan.nii.gz", "none.nii.gz"), "error [file-missing]: The mask is a file."),
        (("scan.nii.gz", "scan.nii.gz"), "must hold whole label values"),
        (("scan.nii.gz", "--out", "labels.json/page.html"), "error [file-write]"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(
    files: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(files)
    result = view(*words)
    assert result.exit_code == 1
    assert sentence in result.output
    assert "Traceback" not in result.output
    assert not list(files.rglob(".partial*"))


@pytest.mark.parametrize(
    "words", [("--reference", "reference.nii.gz"), ("mask.nii.gz", "--distance")]
)
def test_wrong_usage_ends_with_two(
    files: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(files)
    assert view("scan.nii.gz", *words).exit_code == 2
