"""The bundles in the box: small, whole, and with a card that names data and licence."""

from pathlib import Path

import numpy as np
import pytest

from medseg.bundle import builtin_bundles, load_bundle
from medseg.continual.corruptions import corrupted
from medseg.inference.predict import Predictor
from medseg.inference.quality_model import read_quality_model
from medseg.metrics.case import score_case
from medseg.volume.dicom import read_series
from medseg.volume.io import read_label_map, read_volume

NAMES = builtin_bundles()


def test_there_is_one_for_the_hippocampus() -> None:
    assert "hippocampus-mr" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_is_small_and_has_a_card(name: str) -> None:
    bundle = load_bundle(name)
    assert bundle.folder is not None
    assert (bundle.folder / "weights.safetensors").stat().st_size <= 6_000_000
    card = (bundle.folder / "model_card.md").read_text()
    for part in ("# " + name, "## Intended use", "## Limits", "## Validation", "licence"):
        assert part in card
    assert bundle.provenance.data_licence


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_what_was_measured(name: str) -> None:
    bundle = load_bundle(name)
    assert bundle.folder is not None
    card = (bundle.folder / "model_card.md").read_text()
    for label, dice in bundle.metrics["dice"].items():
        assert f"| {label} | {dice:.4f} |" in card


@pytest.mark.parametrize("name", NAMES)
def test_dice_is_foretold_and_the_card_says_how_well(name: str) -> None:
    bundle = load_bundle(name)
    model = read_quality_model(bundle)
    assert model is not None
    assert bundle.folder is not None
    card = " ".join((bundle.folder / "model_card.md").read_text().split())
    assert f"mean error is {model.error:.3f} and its rank correlation" in card
    assert f"true Dice {model.correlation:.2f}" in card
    assert f"{model.masks} masks of the {model.cases} cases" in card


@pytest.mark.data
def test_a_failed_mask_is_told_from_a_good_one(data_root: Path) -> None:
    predictor = Predictor(load_bundle("hippocampus-mr"), foretell=True)
    good = read_volume(data_root / "Task04_Hippocampus" / "imagesTr" / "hippocampus_001.nii.gz")
    bad = corrupted(good, None, "blur", strength=1.6, seed=0)[0]
    told = [predictor.predict(one).quality.predicted_dice for one in (good, bad)]
    assert told[0] > 0.85
    assert told[1] < told[0] - 0.15


@pytest.mark.data
def test_hippocampus_from_dicom_is_plausible(data_root: Path) -> None:
    predictor = Predictor(load_bundle("hippocampus-mr"))
    for study in sorted((data_root / "dicom_hippocampus").glob("*/*")):
        prediction = predictor.predict(read_series(study))
        found, geometry = prediction.label_map.array, prediction.label_map.geometry
        anterior, posterior = (
            geometry.index_to_world(np.argwhere(found == value).astype(float)).mean(axis=0)
            for value in (1, 2)
        )
        assert anterior[1] > posterior[1] + 10, "y grows to the Anterior side, in mm"
        assert all(1 <= ml <= 3 for ml in prediction.volumes_ml.values())


@pytest.mark.data
def test_hippocampus_knows_its_own_data(data_root: Path) -> None:
    folder = data_root / "Task04_Hippocampus"
    name = "hippocampus_001.nii.gz"
    prediction = Predictor(load_bundle("hippocampus-mr")).predict(
        read_volume(folder / "imagesTr" / name)
    )
    reference = read_label_map(folder / "labelsTr" / name)
    scores = score_case(
        prediction.label_map.array, reference.array, values=[1, 2], spacing_mm=(1.0, 1.0, 1.0)
    )
    assert min(score.dice for score in scores.values()) > 0.8
