"""Faults of data sets are named one by one; masks that cannot be scored are refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from refusing import GRID, QUICK, mask, refused, run, write, write_label

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def _label(values: np.ndarray) -> Callable[[Path], object]:
    return lambda root: write(root / "labels/c3.nii.gz", values)


def _image(values: np.ndarray) -> Callable[[Path], object]:
    return lambda root: write(root / "images/c3.nii.gz", values)


def _bytes(part: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        file = root / part / "c3.nii.gz"
        file.write_bytes(change(file.read_bytes()))

    return spoil


ODD = np.full(GRID, 3e38, np.float32)
ODD[2, 2, 2] = np.nan
FAULTS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "missing pair": (lambda root: (root / "labels/c3.nii.gz").unlink(), "missing pair", ""),
    "grid": (_label(np.ones((5, 5, 5), np.uint8)), "grid mismatch", "geometry-different"),
    "fractions": (_label(np.full(GRID, 0.5, np.float32)), "float labels", "label"),
    "nan in a label": (_label(ODD), "float labels", "label"),
    "negative": (_label(mask(1, -2).astype(np.int16)), "unknown label", "label"),
    "too large": (_label(mask(1, 70000)), "unknown label", "label"),
    "nan": (_image(ODD), "not finite", "dataset"),
    "empty file": (_bytes("labels", lambda _: b""), "unreadable", "file-unreadable"),
    "truncated": (_bytes("images", lambda whole: whole[:700]), "unreadable", "file-unreadable"),
    "duplicate": (
        lambda root: shutil.copy(root / "images/c2.nii.gz", root / "images/c3.nii.gz"),
        "duplicate",
        "",
    ),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_check_names_the_fault_and_plan_refuses_it(kind: str, data: Path, tmp_path: Path) -> None:
    spoil, fault, code = FAULTS[kind]
    spoil(data)
    refused("dataset-faulty", "dataset", "check", data, at=tmp_path)
    facts = json.loads(run("dataset", "check", data, "--json").stdout)
    assert [found["case"] for found in facts["faults"] if found["severity"] == "error"] == ["c3"]
    assert fault in {found["kind"] for found in facts["faults"]}
    if code:
        refused(code, "plan", data, "--out", tmp_path / "plan.json", *QUICK, at=tmp_path)
        assert not (tmp_path / "plan.json").exists()
    kept = run("dataset", "check", data, "--skip-faulty", "--out", tmp_path / "kept")
    assert kept.exit_code == 0, kept.output


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda root: write_label(root / "labels/c3.nii.gz"), "empty label"),
        (lambda root: (root / "images/.DS_Store").write_bytes(b"x"), "stray file"),
        (_image(np.zeros(GRID, np.float32)), "constant image"),
    ],
)
def test_check_warns_and_goes_on(
    spoil: Callable[[Path], object], fault: str, data: Path, tmp_path: Path
) -> None:
    spoil(data)
    answer = run("dataset", "check", data, "--json")
    assert answer.exit_code == 0
    assert fault in {found["kind"] for found in json.loads(answer.stdout)["faults"]}
    assert run("plan", data, *QUICK).exit_code == 0


def test_labels_without_a_structure(data: Path, tmp_path: Path) -> None:
    for n in range(4):
        write_label(data / f"labels/c{n}.nii.gz")
    refused("dataset", "dataset", "check", data, at=tmp_path)


@pytest.mark.parametrize("part", ["images/\udcff.nii.gz", "labels/\udcff.nii.gz", "\udcff.csv"])
def test_names_that_are_no_text(part: str, data: Path, tmp_path: Path) -> None:
    try:
        shutil.copy(data / "images/c0.nii.gz", data / part)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    for command in ("check", "import"):
        words = ("--out", tmp_path / "out") if command == "import" else ()
        assert "UTF-8" in refused("dataset", "dataset", command, data, *words, at=tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "", "3", "{}", '{"labels": {"0": "bg", "-1": "x"}}'])
@pytest.mark.parametrize("name", ["dataset.json", "medseg-dataset.json"])
def test_a_broken_table(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    refused("dataset", "dataset", "import", tmp_path, "--out", tmp_path / "out", at=tmp_path)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (np.ones((5, 5, 5), np.uint8), "geometry-different"),
        (np.full(GRID, 0.5, np.float32), "label"),
        (np.full(GRID, np.nan, np.float32), "label"),
        (np.full(GRID, -1, np.int16), "label"),
        (np.full(GRID, 70000, np.int32), "label"),
    ],
    ids=["grid", "fractions", "nan", "negative", "too-large"],
)
def test_a_prediction_that_cannot_be_scored(
    values: np.ndarray, code: str, data: Path, tmp_path: Path
) -> None:
    shutil.copytree(data / "labels", tmp_path / "masks")
    write(tmp_path / "masks/c1.nii.gz", values)
    words = ("evaluate", tmp_path / "masks", data / "labels", "--out", tmp_path / "out")
    refused(code, *words, at=tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("grid", [(12, 12, 1), (9, 1, 1), (1, 1, 1)])
def test_flat_masks_are_scored(grid: tuple[int, ...], tmp_path: Path) -> None:
    write(tmp_path / "masks/a.nii.gz", np.ones(grid, np.uint8))
    words = (
        "evaluate",
        tmp_path / "masks",
        tmp_path / "masks",
        "--out",
        tmp_path / "out",
        "--json",
    )
    answer = run(*words)
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["summary"]["mean"]["dice"]["mean"] == 1
