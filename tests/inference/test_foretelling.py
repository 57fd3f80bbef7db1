"""Dice foretold beside a prediction."""

import pytest
from small import make_bundle, make_volume

from medseg.bundle import save_bundle
from medseg.errors import BundleError
from medseg.inference.opinions import Examiner
from medseg.inference.predict import Predictor
from medseg.inference.quality_model import (
    JudgedMask,
    evidence_of,
    fit_quality_model,
    save_quality_model,
)


def test_a_prediction_says_what_the_model_foretells(tmp_path, volume):
    bundle = save_bundle(make_bundle(members=2), tmp_path / "bundle")
    examiner = Examiner(bundle)
    seen = [evidence_of(examiner.examine(make_volume((12 + n, 14, 12)))) for n in range(6)]
    judged = [JudgedMask(str(n), False, one, 0.1 * n) for n, one in enumerate(seen)]
    model = fit_quality_model(judged, weights_sha256=bundle.weights_sha256)
    save_quality_model(model, tmp_path / "bundle")
    quality = Predictor(bundle, foretell=True).predict(volume).quality
    assert quality.predicted_dice == model.predict(evidence_of(examiner.examine(volume)))
    assert Predictor(bundle).predict(volume).quality.predicted_dice is None


def test_a_model_of_single_networks_foretells_each_of_them(tmp_path, volume):
    bundle = save_bundle(make_bundle(members=2), tmp_path / "bundle")
    examiner = Examiner(bundle)
    every = [examiner.alone(examiner.ask(make_volume((12 + n, 14, 12)))) for n in range(6)]
    judged = [
        JudgedMask(str(n), False, evidence_of(one), 0.1 * n + 0.05 * m)
        for n, seen in enumerate(every)
        for m, one in enumerate(seen)
    ]
    model = fit_quality_model(judged, weights_sha256=bundle.weights_sha256, judges="network")
    save_quality_model(model, tmp_path / "bundle")
    told = Predictor(bundle, foretell=True).predict(volume).quality.predicted_dice
    each = [model.predict(evidence_of(one)) for one in examiner.alone(examiner.ask(volume))]
    assert each[0] != each[1]
    assert told == pytest.approx(sum(each) / 2)


def test_without_a_model_it_is_refused(tmp_path):
    bundle = save_bundle(make_bundle(), tmp_path / "bundle")
    with pytest.raises(BundleError, match="Fit one on 20 labelled cases"):
        Predictor(bundle, foretell=True)
