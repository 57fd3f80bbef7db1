"""A small data set, a bundle with random weights and a scan; and copies that a test may spoil."""

import shutil
from pathlib import Path

import pytest
import torch
from refusing import image, make_plan, mask, write, write_label

from medseg.bundle import Bundle, Provenance, save_bundle
from medseg.networks.build import build


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("scans") / "scan.nii.gz", image())
