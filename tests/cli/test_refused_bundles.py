"""Broken bundles, cases that a bundle does not take, and plans edited to nonsense."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from refusing import GRID, edit, image, make_plan, refused, write
from safetensors.torch import load_file, save_file

from medseg.dataset.plan import save_plan

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def _other_weights(bundle: Path, weights: dict[str, torch.Tensor]) -> None:
    """Other weights, and a description that agrees with them."""
    save_file(weights, bundle / "weights.safetensors")
    digest = hashlib.sha256((bundle / "weights.safetensors").read_bytes()).hexdigest()
    edit(bundle / "bundle.json", lambda content: content.update(weights_sha256=digest))


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
    "other-version": lambda b: edit(b / DESCRIPTION, lambda d: d["plan"].update(version=9)),
    "wider": lambda b: edit(b / DESCRIPTION, _widen),
    "two-members": lambda b: edit(b / DESCRIPTION, lambda d: d.update(members=2)),
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
    edit(tmp_path / "plan.json", lambda plan: plan.update(change))
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
