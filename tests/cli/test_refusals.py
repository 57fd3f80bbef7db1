"""Broken input of every kind: one coded sentence, exit code 1, and nothing half is left."""

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import Result
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from medseg.bundle import Bundle, Provenance, save_bundle
from medseg.cli.app import app
from medseg.dataset.description import Channel
from medseg.dataset.plan import Plan, ZScore, save_plan
from medseg.networks.build import build
from medseg.specs import (
    AugmentSpec,
    Budget,
    LossSpec,
    PlainUNetSpec,
    RecipeSpec,
    WindowSpec,
)
from medseg.volume.labels import Label

GRID = (12, 12, 8)
QUICK = ("--gflops", "50", "--memory", "1G", "--device", "cpu")

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def run(*words: str | Path) -> Result:
    """What `medseg WORDS` answers."""
    return CliRunner().invoke(app, [str(word) for word in words])


def refused(code: str, *words: str | Path, at: Path) -> str:
    """The one sentence of a command that must fail so; nothing half is left below `at`."""
    answer = run(*words)
    assert answer.exit_code == 1, answer.output
    assert isinstance(answer.exception, SystemExit), repr(answer.exception)
    said = [line for line in answer.stderr.splitlines() if line.startswith("error [")]
    assert len(said) == 1, answer.stderr
    assert said[0].startswith(f"error [{code}]: "), said
    assert not [path for path in at.rglob(".*") if path.name.startswith((".partial", ".replaced"))]
    return said[0]


def image(seed: int = 0, grid: tuple[int, ...] = GRID) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 20, grid).astype(np.float32)


def mask(*values: int, grid: tuple[int, ...] = GRID) -> np.ndarray:
    """Blocks of these values, one after the other along the first axis."""
    labels = np.zeros(grid, np.int32)
    for n, value in enumerate(values):
        labels[4 * n : 4 * n + 3, 2:8, 1:6] = value
    return labels


def write(path: Path, array: np.ndarray, spacing_mm: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    nib.save(nib.Nifti1Image(array, affine, dtype=array.dtype), path)
    return path


def write_label(path: Path, *values: int) -> Path:
    return write(path, mask(*values).astype(np.uint8))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small cases as images/ and labels/."""
    root = tmp_path_factory.mktemp("raw")
    for n in range(4):
        write(root / f"images/c{n}.nii.gz", image(n) + 80 * mask(1, 2))
        write_label(root / f"labels/c{n}.nii.gz", 1, 2)
    return root


@pytest.fixture
def data(raw: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    shutil.copytree(raw, tmp_path / "data")
    return tmp_path / "data"


def make_plan() -> Plan:
    patch = (8, 8, 8)
    return Plan(
        dataset="phantom", config="3d_full", channels=(Channel(name="T1", modality="MR"),),
        labels=(Label(value=1, name="one"), Label(value=2, name="two")),
        normalisations=(ZScore(),), orientation="RAS", spacing_mm=(1.0, 1.0, 1.0),
        crop_to_nonzero=False, patch_size=patch,
        network=PlainUNetSpec(
            dims=3, in_channels=1, classes=3, features=(4, 8), kernels=((3, 3, 3),) * 2,
            strides=((1, 1, 1), (2, 2, 2)), encoder_convs=(1, 1), decoder_convs=(1,),
        ),
        loss=LossSpec(), augment=AugmentSpec(), recipe=RecipeSpec(),
        window=WindowSpec(patch_size=patch), median_grid=GRID,
        budget=Budget(epochs=1, memory_bytes=1 << 30, gflops=50.0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with random weights."""
    plan = make_plan()
    origin = Provenance(medseg_version="0", created="2026", data_name="x", data_hash="0", seed=0)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "bundle"
    save_bundle(Bundle(plan, origin, (build(plan.network).state_dict(),)), folder)
    return folder


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    shutil.copytree(whole, tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("scans") / "scan.nii.gz", image())


def header(scan: Path, at: int, value: object, dtype: str) -> bytes:
    """The scan's bytes, not compressed, with another value in the header."""
    content = bytearray(gzip.decompress(scan.read_bytes()))
    new = np.asarray(value, dtype).tobytes()
    content[at : at + len(new)] = new
    return bytes(content)


SPOILT: dict[str, tuple[str, Callable[[Path], bytes], str]] = {
    "truncated": ("x.nii.gz", lambda scan: scan.read_bytes()[:900], "file-unreadable"),
    "wrong-magic": ("x.nii.gz", lambda _: gzip.compress(b"hello" * 99), "file-unreadable"),
    "not-gzip": ("x.nii.gz", lambda _: b"hello" * 99, "file-unreadable"),
    "empty-gz": ("x.nii.gz", lambda _: b"", "file-unreadable"),
    "empty-nii": ("x.nii", lambda _: b"", "file-unreadable"),
    "empty-png": ("x.png", lambda _: b"", "file-unreadable"),
    "empty-mha": ("x.mha", lambda _: b"", "file-unreadable"),
    "no-header": ("x.nrrd", lambda _: b"NRRD0004\nnonsense\n", "file-unreadable"),
    "text": ("x.txt", lambda _: b"hello", "file-format"),
    "giant": ("x.nii", lambda s: header(s, 40, [3, 30000, 30000, 30000], "<i2"), "file-unreadable"),
    "negative": ("x.nii", lambda s: header(s, 40, [3, -5, 10, 10], "<i2"), "file-unreadable"),
    "no-type": ("x.nii", lambda s: header(s, 70, 9999, "<i2"), "file-unreadable"),
    "nan-affine": ("x.nii", lambda s: header(s, 280, [np.nan] * 12, "<f4"), "geometry-invalid"),
    "flat-affine": ("x.nii", lambda s: header(s, 280, [0.0] * 12, "<f4"), "geometry-invalid"),
}  # fmt: skip


@pytest.mark.parametrize("kind", SPOILT)
@pytest.mark.parametrize("command", ["info", "convert", "predict"])
def test_a_broken_image(command: str, kind: str, scan: Path, whole: Path, tmp_path: Path) -> None:
    name, spoil, code = SPOILT[kind]
    (tmp_path / name).write_bytes(spoil(scan))
    after = {
        "info": (), "convert": (tmp_path / "out.nii.gz",),
        "predict": ("--model", whole, "--out", tmp_path / "out"),
    }[command]  # fmt: skip
    refused(code, command, tmp_path / name, *after, at=tmp_path)
    assert not (tmp_path / "out.nii.gz").exists()
    assert not list((tmp_path / "out").glob("*.nii.gz"))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda x: np.where(x > 150, np.nan, x), "finite"),
        (lambda x: np.where(x > 150, np.inf, x), "finite"),
        (lambda x: x.astype(np.float64) * 1e300, "up to 1e"),
        (lambda x: x * np.float32(1e36), "up to 1e"),
    ],
    ids=["nan", "infinite", "beyond-float32", "squares-beyond-float32"],
)
def test_an_image_of_useless_numbers(
    spoil: Callable[[np.ndarray], np.ndarray], says: str, whole: Path, tmp_path: Path
) -> None:
    scan = write(tmp_path / "x.nii.gz", spoil(image()))
    words = ("predict", scan, "--model", whole, "--out", tmp_path / "out")
    assert says in refused("dataset", *words, at=tmp_path)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int32", "uint64", "int64", "float64", ">i2", ">f4", ">u8"]
)
def test_every_type_of_voxel_is_read(dtype: str, whole: Path, tmp_path: Path) -> None:
    kind = np.dtype(dtype)
    order = nib.Nifti1Header(endianness=">" if kind.byteorder == ">" else "<")
    array = (image() % 100).astype(kind)
    nib.save(nib.Nifti1Image(array, np.eye(4), order, dtype=kind), tmp_path / "x.nii")
    answer = run("predict", tmp_path / "x.nii", "--model", whole, "--out", tmp_path / "out")
    assert answer.exit_code == 0, answer.output
    assert run("convert", tmp_path / "x.nii", tmp_path / "y.nii.gz").exit_code == 0
    np.testing.assert_array_equal(nib.load(tmp_path / "y.nii.gz").get_fdata(), array)


@pytest.mark.parametrize(
    "array",
    [np.zeros(GRID), np.full(GRID, 7.5), image(grid=(5, 3, 2)), image(grid=(1, 1, 2))],
    ids=["zero", "constant", "smaller-than-the-patch", "two-voxels"],
)
def test_a_dull_or_small_image_gets_a_mask(array: np.ndarray, whole: Path, tmp_path: Path) -> None:
    scan = write(tmp_path / "x.nii.gz", array.astype(np.float32))
    answer = run("predict", scan, "--model", whole, "--out", tmp_path / "out")
    assert answer.exit_code == 0, answer.output
    assert nib.load(tmp_path / "out/x.nii.gz").shape == array.shape


@pytest.mark.parametrize(
    "name",
    ["a b.nii.gz", "üß.nii.gz", "-x.nii.gz", "[bold]x.nii.gz", "a'\".nii.gz", "\udcff.nii.gz"],
)  # fmt: skip
def test_odd_names(name: str, scan: Path, whole: Path, tmp_path: Path) -> None:
    try:
        shutil.copy(scan, tmp_path / name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    words = ("predict", "--model", whole, "--out", tmp_path / "out", tmp_path / name)
    for more in ((), ("--json",), ("--resume",)):
        answer = run(*words, *more)
        assert answer.exit_code == 0, answer.output
    assert (tmp_path / "out" / name).is_file()
    assert run("info", tmp_path / name).exit_code == 0
    assert run(
        "evaluate", tmp_path / "out", tmp_path / "out", "--out", tmp_path / "s"
    ).exit_code in (0, 1)


def _edit(file: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def _other_weights(bundle: Path, weights: dict[str, torch.Tensor]) -> None:
    """Other weights, and a description that agrees with them."""
    save_file(weights, bundle / "weights.safetensors")
    digest = hashlib.sha256((bundle / "weights.safetensors").read_bytes()).hexdigest()
    _edit(bundle / "bundle.json", lambda content: content.update(weights_sha256=digest))


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 255
    file.write_bytes(content)


def _widen(description: dict) -> None:
    description["plan"]["network"]["features"] = [8, 9]


WEIGHTS, DESCRIPTION = "weights.safetensors", "bundle.json"
CORRUPT: dict[str, Callable[[Path], object]] = {
    "flipped": lambda b: _flip(b / WEIGHTS),
    "truncated": lambda b: (b / WEIGHTS).write_bytes((b / WEIGHTS).read_bytes()[:99]),
    "no-weights": lambda b: (b / WEIGHTS).unlink(),
    "half-description": lambda b: (b / DESCRIPTION).write_text('{"plan": {'),
    "empty-description": lambda b: (b / DESCRIPTION).write_bytes(b""),
    "list": lambda b: (b / DESCRIPTION).write_text("[]"),
    "bytes": lambda b: (b / DESCRIPTION).write_bytes(b"\xff\xfe"),
    "other-version": lambda b: _edit(b / DESCRIPTION, lambda d: d["plan"].update(version=9)),
    "wider": lambda b: _edit(b / DESCRIPTION, _widen),
    "two-members": lambda b: _edit(b / DESCRIPTION, lambda d: d.update(members=2)),
    "no-number": lambda b: _other_weights(b, {"foo": torch.zeros(2)}),
    "word-for-number": lambda b: _other_weights(b, {"x.foo": torch.zeros(2)}),
    "third-of-one": lambda b: _other_weights(b, {"2.foo": torch.zeros(2)}),
    "no-tensor": lambda b: _other_weights(b, {}),
    "nan": lambda b: _other_weights(b, {k: v * np.nan for k, v in load_file(b / WEIGHTS).items()}),
}  # fmt: skip


@pytest.mark.parametrize("kind", CORRUPT)
def test_a_broken_bundle(kind: str, model: Path, scan: Path, tmp_path: Path) -> None:
    CORRUPT[kind](model)
    words = ("predict", scan, "--model", model, "--out", tmp_path / "out")
    assert "pydantic" not in refused("bundle-corrupt", *words, at=tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["nothing", "", "../..", "a\0b"])
def test_no_bundle_of_this_name(name: str, scan: Path, tmp_path: Path) -> None:
    words = ("predict", scan, "--model", name, "--out", tmp_path / "out")
    refused("bundle-unknown", *words, at=tmp_path)


def test_channels_that_the_bundle_does_not_take(whole: Path, tmp_path: Path) -> None:
    scan = write(tmp_path / "x.nii.gz", image(grid=(*GRID, 2)))
    refused("bundle-input", "predict", scan, "--model", whole, "--out", tmp_path / "o", at=tmp_path)


def test_a_slice_for_a_bundle_of_volumes(whole: Path, tmp_path: Path) -> None:
    scan = write(tmp_path / "x.nii.gz", image(grid=(12, 12, 1)))
    refused("bundle-input", "predict", scan, "--model", whole, "--out", tmp_path / "o", at=tmp_path)


def test_a_mask_never_takes_the_place_of_its_image(whole: Path, tmp_path: Path) -> None:
    scan = write(tmp_path / "x.nii.gz", image())
    before = scan.read_bytes()
    refused("file-write", "predict", scan, "--model", whole, "--out", tmp_path, at=tmp_path)
    assert scan.read_bytes() == before


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
    ("change", "says"),
    [
        ({"version": 2}, "version"),
        ({"patch_size": [0, 0, 0]}, "patch"),
        ({"patch_size": [7, 5, 3]}, "multiple"),
        ({"spacing_mm": [-1, 1, 1]}, "spacing"),
        ({"orientation": "XYZ"}, "orientation"),
        ({"channels": []}, "channels"),
        ({"labels": []}, "labels"),
        ({"normalisations": []}, "normalisation"),
        ({"config": "2d"}, "2d"),
        ({"extra": 1}, "extra"),
        ({"recipe": {"batch_size": 10**9}}, "batch_size"),
        ({"recipe": {"learning_rate": "NaN"}}, "learning_rate"),
    ],
)
def test_a_plan_edited_to_nonsense(change: dict, says: str, raw: Path, tmp_path: Path) -> None:
    save_plan(make_plan(), tmp_path / "plan.json")
    _edit(tmp_path / "plan.json", lambda plan: plan.update(change))
    words = (
        "train",
        raw,
        "--out",
        tmp_path / "run",
        "--epochs",
        1,
        "--plan",
        tmp_path / "plan.json",
    )
    assert says in refused("plan", *words, at=tmp_path)
    assert not (tmp_path / "run").exists()


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
