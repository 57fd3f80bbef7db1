"""`medseg import-nnunet` from the outside: a model's folder in, masks out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from refusing import refused, run

from medseg.networks.build import build
from medseg.specs import PlainUNetSpec
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_label_map, write_volume
from medseg.volume.volume import Source, Volume
from medseg.weights.dynamic import plain_names

SPEC = PlainUNetSpec(
    dims=3,
    in_channels=1,
    classes=3,
    features=(2, 4),
    kernels=((3, 3, 3),) * 2,
    strides=((1, 1, 1), (2, 2, 2)),
    encoder_convs=(1, 1),
    decoder_convs=(1,),
)
PLANS = {
    "dataset_name": "Dataset501_Small",
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "configurations": {
        "3d_fullres": {
            "batch_size": 2,
            "patch_size": [8, 8, 8],
            "spacing": [1.0, 1.0, 1.0],
            "normalization_schemes": ["ZScoreNormalization"],
            "use_mask_for_norm": [False],
            "UNet_class_name": "PlainConvUNet",
        }
    },
}
DATASET = {
    "channel_names": {"0": "MRI"},
    "labels": {"background": 0, "left": 1, "right": 2},
    "file_ending": ".nii.gz",
}


@pytest.fixture
def model(tmp_path):
    """A model's folder with two folds of random weights."""
    folder = tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    for fold in (0, 1):
        torch.manual_seed(fold)
        ours = build(SPEC).state_dict()
        names = plain_names(SPEC, {})
        state = {}
        for name, tensor in ours.items():
            module = max((m for m in names.modules if name.startswith(f"{m}.")), key=len)
            axes = reversed(range(2, tensor.ndim))
            turned = tensor.permute(0, 1, *axes) if tensor.ndim > 3 else tensor
            state[names.modules[module] + name[len(module) :]] = turned
        path = folder / f"fold_{fold}" / "checkpoint_final.pth"
        path.parent.mkdir(parents=True)
        facts = {"configuration": "3d_fullres", "plans": PLANS, "dataset_json": DATASET}
        torch.save({"network_weights": state, "current_epoch": 7, "init_args": facts}, path)
    (folder / "plans.json").write_text(json.dumps(PLANS))
    (folder / "dataset.json").write_text(json.dumps(DATASET))
    return folder


def write_scan(path: Path, orientation: str = "RAS") -> None:
    geometry = Geometry(np.diag([1.0, 1.0, 1.0, 1.0]), (9, 8, 11))
    array = np.random.default_rng(0).normal(size=(1, 9, 8, 11)).astype(np.float32)
    axes, flips = geometry.steps_to(orientation)
    turned = geometry.reordered(axes, flips)
    write_volume(Volume(array.transpose(0, *(a + 1 for a in axes)), turned, ("x",), SOURCE), path)


SOURCE = Source((), "nifti")


def test_a_model_becomes_a_bundle_that_predicts_files_as_they_lie(model, tmp_path):
    bundle = tmp_path / "bundle"
    answer = run("import-nnunet", model, "--out", bundle)
    assert answer.exit_code == 0, answer.output
    assert "Axes as in each file, order x y z" in answer.stdout
    assert "labels left, right" in answer.stdout
    scans = tmp_path / "scans"
    scans.mkdir()
    write_scan(scans / "a.nii.gz")
    write_scan(scans / "b.nii.gz", "LPS")
    masks = tmp_path / "masks"
    assert run("predict", scans, "--model", bundle, "--out", masks).exit_code == 0
    first, second = (read_label_map(masks / f"{name}.nii.gz") for name in "ab")
    assert np.array_equal(first.array, second.array), "the same array, told to lie otherwise"
    assert (first.geometry.orientation, second.geometry.orientation) == ("RAS", "LPS")
    assert len(np.unique(first.array)) > 1
    card = (bundle / "model_card.md").read_text()
    assert "folds 0, 1" in card
    assert "Epochs of each member: 7, 7" in card


def test_for_machines(model, tmp_path):
    words = ("--folds", "1", "--orientation", "LPS", "--json")
    answer = run("import-nnunet", model, "--out", tmp_path / "bundle", *words)
    facts = json.loads(answer.stdout)
    assert facts["members"] == 1
    assert facts["plan"]["orientation"] == "LPS"
    assert not facts["homeless"]


def test_what_is_wrong_is_one_sentence(model, tmp_path):
    out = ("--out", tmp_path / "b")
    missing = "file-missing"
    assert "TRAINER__PLANS__CONFIGURATION" in refused(
        missing, "import-nnunet", tmp_path, *out, at=tmp_path
    )
    refused(missing, "import-nnunet", model, *out, "--folds", "4", at=tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    refused("file-write", "import-nnunet", model, "--out", other, at=tmp_path)
    assert [path.name for path in other.iterdir()] == ["notes.txt"]
