"""A Dice that is foretold: order, calibration, honesty about its error, and its file."""

import numpy as np
import pytest
from small import make_bundle

from medseg.bundle import save_bundle
from medseg.errors import CorruptBundle
from medseg.inference.opinions import Examiner
from medseg.inference.quality_model import (
    FILE_NAME,
    JudgedMask,
    QualityEvidence,
    evidence_of,
    fit_quality_model,
    read_quality_model,
    save_quality_model,
    signs_of,
)


def masks(count, *, noise=0.1, seed=0):
    """The agreement of networks is a noisy sign of Dice; entropy another; volume tells nothing."""
    rng = np.random.default_rng(seed)
    found = []
    for n in range(count):
        dice = float(rng.uniform(0.4, 0.95))
        logit = np.log(dice / (1 - dice)) + 1 + rng.normal(0, noise)
        features = {
            "member_dice": float(1 / (1 + np.exp(-logit))),
            "entropy": float(0.7 - 0.5 * dice + rng.normal(0, noise / 5)),
        }
        evidence = QualityEvidence(features, {"a": float(rng.uniform(1, 2))}, {"q50": rng.normal()})
        found.append(JudgedMask(f"case {n // 2}", bool(n % 2), evidence, dice))
    return found


def test_dice_is_foretold_on_new_masks_with_the_stated_error():
    model = fit_quality_model(masks(200), weights_sha256="0")
    new = masks(200, seed=1)
    foretold = np.array([model.predict(mask.evidence) for mask in new])
    error = np.abs(foretold - [mask.dice for mask in new]).mean()
    assert error < 0.04
    assert error == pytest.approx(model.error, rel=0.3)
    assert model.correlation > 0.9
    assert (model.cases, model.masks) == (100, 200)


def test_what_tells_nothing_is_not_said_to_tell_anything():
    rng = np.random.default_rng(5)
    shuffled = masks(100)
    dice = rng.permutation([mask.dice for mask in shuffled])
    blind = [mask._replace(dice=float(d)) for mask, d in zip(shuffled, dice, strict=True)]
    model = fit_quality_model(blind, weights_sha256="0")
    assert abs(model.correlation) < 0.3
    assert model.error > 0.1


def test_steps_never_fall_and_stay_within_what_was_seen():
    model = fit_quality_model(masks(100), weights_sha256="0")
    assert np.all(np.diff(model.dice) >= 0)
    assert np.all(np.diff(model.order) > 0)
    assert 0.4 <= min(model.dice) <= max(model.dice) <= 0.95


def test_an_empty_mask_gets_nothing():
    model = fit_quality_model(masks(40), weights_sha256="0")
    evidence = masks(1)[0].evidence
    assert model.predict(evidence._replace(volumes_ml={"a": 0.0})) == 0.0


def test_strange_volumes_and_images_are_signs():
    evidence = QualityEvidence({"expected_dice": 0.5}, {"a": np.e}, {"q": 3.0})
    signs = signs_of(evidence, {"a": (0.0, 0.5)}, {"q": (0.0, 1.0), "gone": (0.0, 1.0)})
    assert signs["expected_dice"] == pytest.approx(0)
    assert signs["volume"] == pytest.approx(2)
    assert signs["strange_image"] == pytest.approx(np.log(10))


def test_it_lies_beside_its_bundle_and_belongs_to_its_weights(tmp_path, volume):
    bundle = save_bundle(make_bundle(members=2), tmp_path / "bundle")
    assert read_quality_model(bundle) is None
    seen = evidence_of(Examiner(bundle).examine(volume))
    judged = [JudgedMask(f"c{n}", False, seen, 0.1 * n) for n in range(10)]
    model = fit_quality_model(judged, weights_sha256=bundle.weights_sha256)
    save_quality_model(model, tmp_path / "bundle")
    assert read_quality_model(bundle) == model
    assert model.predict(seen) == pytest.approx(0.45)
    other = save_bundle(make_bundle(), tmp_path / "bundle")
    save_quality_model(model, tmp_path / "bundle")
    assert read_quality_model(other) is None
    (tmp_path / "bundle" / FILE_NAME).write_text("{}")
    with pytest.raises(CorruptBundle, match="medseg drift baseline"):
        read_quality_model(other)
