"""Broken images are one coded sentence; dull, small and oddly named ones get their mask."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from refusing import GRID, image, refused, run, write

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


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
