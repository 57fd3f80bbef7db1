"""Paths that cannot be, and a full disk: one coded sentence, and nothing half is left."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from refusing import QUICK, refused, run

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("train", "RAW", "--out", "OUT", "--resume"), "training-resume"),
        (("train", "RAW", "--out", "OUT", "--arch", "none"), "plan"),
        (("train", "RAW", "--out", "OUT", "--plan", "nowhere.json"), "file-missing"),
        (("train", "RAW", "--out", "FILE"), "file-write"),
        (("train", "RAW", "--out", "FILE/run"), "file-write"),
        (("train", "nowhere", "--out", "OUT"), "file-missing"),
        (("plan", "RAW", "--out", "EMPTY", *QUICK), "file-write"),
        (("dataset", "import", "RAW", "--out", "FILE"), "file-write"),
        (("dataset", "import", "EMPTY", "--out", "OUT"), "dataset"),
        (("dataset", "import", "FILE", "--out", "OUT"), "dataset"),
        (("dataset", "split", "RAW", "--folds", "4", "--out", "FILE/f.json"), "file-write"),
        (("dataset", "split", "RAW", "--folds", "5", "--out", "OUT"), "dataset"),
        (("dataset", "fetch", "nothing"), "dataset"),
        (("predict", "nowhere", "--model", "MODEL", "--out", "OUT"), "file-missing"),
        (("predict", "EMPTY", "--model", "MODEL", "--out", "OUT"), "file-missing"),
        (("predict", "SCAN", "--model", "MODEL", "--out", "FILE"), "file-write"),
        (("predict", "SCAN", "--model", "MODEL", "--out", "FILE/x"), "file-write"),
        (("convert", "nowhere.nii", "OUT.nii"), "file-missing"),
        (("convert", "SCAN", "OUT.xyz"), "file-format"),
        (("convert", "SCAN", "OUT.png"), "file-format"),
        (("convert", "SCAN", "OUT"), "file-format"),
        (("convert", "EMPTY", "OUT.nii"), "dicom-none"),
        (("convert", "SCAN", "FILE/x.nii"), "file-write"),
        (("info", "nowhere"), "file-missing"),
        (("evaluate", "nowhere", "RAW", "--out", "OUT"), "file-missing"),
        (("evaluate", "EMPTY", "LABELS", "--out", "OUT"), "evaluation"),
        (("evaluate", "LABELS", "EMPTY", "--out", "OUT"), "dataset"),
        (("evaluate", "LABELS", "LABELS", "--out", "FILE"), "file-write"),
        (("evaluate", "LABELS", "LABELS", "--out", "OUT", "--tolerance", "nan"), "evaluation"),
        (("evaluate", "LABELS", "LABELS", "--out", "OUT", "--labels", "FILE"), "file-unreadable"),
        (("demo", "--data", "nowhere", "--out", "OUT"), "file-missing"),
        (("demo", "--out", "FILE"), "system"),
    ],
    ids=lambda words: "-".join(words[:8]) if isinstance(words, tuple) else None,
)  # fmt: skip
def test_a_path_that_cannot_be(
    words: tuple[str, ...], code: str, raw: Path, whole: Path, scan: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("hello")
    places = {
        "RAW": raw, "LABELS": raw / "labels", "MODEL": whole, "SCAN": scan,
        "FILE": tmp_path / "file", "EMPTY": tmp_path / "empty", "OUT": tmp_path / "out",
    }  # fmt: skip
    filled = []
    for word in words:
        name = next((name for name in places if word.startswith(name)), "")
        filled.append(f"{places[name]}{word.removeprefix(name)}" if name else word)
    refused(code, *filled, at=tmp_path)
    assert (tmp_path / "file").read_text() == "hello"
    assert not (tmp_path / "out").exists()
    answer = run(*filled, "--json")
    assert answer.exit_code == 1
    assert json.loads(answer.stdout)["error"]["code"] == code


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on a disk that is full whenever a file is flushed to it."""

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medseg.files.os.fsync", full)
    return tmp_path / "disk"


@pytest.mark.parametrize(
    "words",
    [
        ("convert", "SCAN", "DISK/x.nii.gz"),
        ("convert", "SCAN", "DISK/x.nii"),
        ("convert", "SCAN", "DISK/x.mha"),
        ("convert", "SCAN", "DISK/x.nrrd"),
        ("predict", "SCAN", "--model", "MODEL", "--out", "DISK"),
        ("evaluate", "LABELS", "LABELS", "--out", "DISK"),
        ("plan", "RAW", "--out", "DISK/plan.json", *QUICK),
        ("dataset", "import", "RAW", "--out", "DISK"),
        ("dataset", "split", "RAW", "--folds", "2", "--out", "DISK/folds.json"),
    ],
    ids=lambda words: "-".join(words[:3]),
)
def test_a_full_disk(
    words: tuple[str, ...], full_disk: Path, raw: Path, whole: Path, scan: Path
) -> None:
    places = {"RAW": raw, "LABELS": raw / "labels", "MODEL": whole, "SCAN": scan, "DISK": full_disk}
    filled = [
        f"{places[word.split('/')[0]]}{word[len(word.split('/')[0]):]}"
        if word.split("/")[0] in places else word
        for word in words
    ]  # fmt: skip
    assert "No space left" in refused("file-write", *filled, at=full_disk.parent)
    assert not list(full_disk.rglob("*.*"))
