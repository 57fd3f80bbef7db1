"""Every kind of network goes the whole way: planned, trained, judged and loaded again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medseg.bundle import load_bundle
from medseg.dataset.description import DatasetDescription
from medseg.dataset.fingerprint import take_fingerprint
from medseg.dataset.plan import make_plan
from medseg.errors import TrainingError
from medseg.inference.predict import Predictor
from medseg.networks.build import names
from medseg.report.pages.training_page import write_training_report
from medseg.specs import Budget
from medseg.training.crossval import train
from medseg.training.run import RunSettings
from medseg.volume.io import read_volume

QUICK = ("unet", "attention_unet")
BUDGET = Budget(seconds=5, memory_bytes=2 << 30, gflops=5)


@pytest.mark.parametrize("config", ["2d", "3d_full"])
@pytest.mark.parametrize(
    "arch",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names()],
)
def test_it_is_trained_and_predicts(
    blobs: DatasetDescription, tmp_path: Path, arch: str, config: str
) -> None:
    plan = make_plan(take_fingerprint(blobs), BUDGET, config=config, arch=arch)  # type: ignore[arg-type]
    settings = RunSettings(epochs=1, arch=arch, device="cpu", precision="fp32")
    bundle = train(blobs, tmp_path / "run", settings, plan=plan)
    assert bundle.plan.network.kind == arch
    assert arch.split("_")[0] in write_training_report(tmp_path / "run").read_text().lower()
    again = load_bundle(tmp_path / "run" / "bundle")
    assert all(torch.isfinite(t).all() for t in again.members[0].values())
    scan = read_volume(blobs.cases[0].images[0])
    prediction = Predictor(again, device="cpu").predict(scan)
    assert prediction.label_map.array.shape == scan.array.shape[1:]
    assert set(np.unique(prediction.label_map.array)) <= {0, 1, 4}


def test_a_plan_of_another_kind_than_asked_for_is_refused(
    blobs: DatasetDescription, tmp_path: Path
) -> None:
    plan = make_plan(take_fingerprint(blobs), BUDGET, arch="unet")
    with pytest.raises(TrainingError, match=r"a plan of unet and --arch unetr.*medseg plan"):
        train(blobs, tmp_path / "run", RunSettings(epochs=1, arch="unetr"), plan=plan)
