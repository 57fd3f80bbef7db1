"""A cascade predicts by both stages: the second sees the mask of the first."""

import numpy as np
from small import make_bundle, make_plan, make_volume

from medseg.bundle import Configuration
from medseg.dataset.plan import Plan
from medseg.dataset.preprocess import preprocess
from medseg.inference.configured import Configured, shown
from medseg.inference.elected import elected
from medseg.inference.ensemble import Ensemble
from medseg.inference.predict import Predictor
from medseg.inference.window import sweep
from medseg.specs import MaskAugmentSpec


def test_a_cascade_sees_the_mask_that_its_first_stage_finds():
    plan, first = make_plan(), make_bundle(members=2)
    low = plan.model_copy(update={"config": "3d_low", "spacing_mm": (2.0, 2.0, 2.0)})
    network = plan.network.model_copy(update={"in_channels": 3})
    change = {"config": "cascade", "network": network, "mask_augment": MaskAugmentSpec()}
    cascade = Plan.model_validate(plan.model_copy(update=change))
    before = Configuration(low, first.members)
    bundle = make_bundle(cascade, first_stage=before)
    configured, volume = Configured(bundle.configurations[0]), make_volume()
    case = configured.prepared(volume)
    coarse = preprocess(volume, None, low)
    mask = elected([Configured(before).sweep(coarse)], case.geometry, plan.labels, ())
    np.testing.assert_array_equal(case.mask, mask)
    assert case.image.shape == (1, *mask.shape)
    assert shown(case).shape == (2, *mask.shape)
    spelt = np.concatenate([case.image, [mask == 1], [mask == 2]], dtype=np.float32)
    assert case.mask.any()
    by_hand = sweep(
        spelt, Ensemble(configured.engines), plan.window, classes=3, geometry=case.geometry
    )
    np.testing.assert_array_equal(configured.sweep(case).weights, by_hand.weights)
    prediction = Predictor(bundle, mirrors=True).predict(volume)
    assert prediction.label_map.geometry.grid_size == volume.geometry.grid_size
