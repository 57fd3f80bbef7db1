"""A bundle of `lite` keeps the form that learns and predicts with the one that is deployed."""

import numpy as np
import pytest
import torch
from small import make_bundle, make_plan, make_volume
from torch import nn

from medseg.bundle import load_bundle, save_bundle
from medseg.inference.predict import Predictor
from medseg.networks import build
from medseg.specs import LiteSpec


def lite_plan(dims):
    network = LiteSpec(
        dims=dims,
        in_channels=1,
        classes=3,
        features=(4, 8, 8),
        kernels=((3,) * dims,) * 2,
        strides=((1,) * dims, (2,) * dims, (2,) * dims),
        encoder_convs=(1, 2),
    )
    return make_plan(dims=dims).model_copy(update={"network": network})


def with_statistics(bundle):
    """Normalisations that do something, as after a training."""
    for name, tensor in bundle.members[0].items():
        if name.endswith("running_mean"):
            tensor.normal_()
        elif name.endswith(("running_var", "norm.weight")):
            tensor.uniform_(0.5, 2)
    return bundle


@pytest.mark.parametrize("dims", [2, 3])
def test_prediction_runs_the_deployed_form_of_weights_that_are_kept(dims, tmp_path):
    plan = lite_plan(dims)
    loaded = load_bundle(save_bundle(with_statistics(make_bundle(plan)), tmp_path / "b").folder)
    assert set(loaded.members[0]) == set(build(plan.network).state_dict())
    predictor = Predictor(loaded)
    network = predictor.engines[0].network
    assert not any(isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d) for m in network.modules())
    kept = build(plan.network)
    kept.load_state_dict(loaded.members[0])
    batch = np.random.default_rng(0).normal(size=(1, 1, *(16,) * dims)).astype(np.float32)
    with torch.no_grad():
        expected = kept.eval()(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(predictor.engines[0].run(batch), expected, atol=1e-5, rtol=1e-5)
    assert predictor.predict(make_volume()).label_map.array.shape == (20, 18, 22)
