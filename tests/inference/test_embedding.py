"""One vector of a case: by hand, at the end of the encoder, whatever the network and the size."""

import numpy as np
import pytest
from small import make_bundle, make_plan, make_volume

from medseg.dataset.preprocess import preprocess
from medseg.inference.embedding import Encoder, pooled
from medseg.specs import UNetSpec


def test_pooling_by_hand():
    features = np.zeros((1, 2, 4))
    features[0, 1] = 4.0
    features[0, :, 2:] += 1.0
    mean, deviation, first, second = pooled(features)
    assert mean == features.mean()
    assert deviation == pytest.approx(features.std())
    assert (first, second) == (4.0, 1.0)


def test_an_axis_of_one_position_has_no_halves():
    assert pooled(np.ones((3, 1, 2)))[6:9].tolist() == [0, 0, 0]


def test_the_end_of_the_encoder_is_its_deepest_convolution():
    bundle = make_bundle()
    encoder = Encoder(bundle.configurations[0])
    assert encoder.length == 8 * 5
    case = preprocess(make_volume(), None, bundle.plan)
    assert encoder.embed(case).shape == (40,)
    np.testing.assert_array_equal(encoder.embed(case), encoder.embed(case))


def test_a_mirrored_image_has_another_layout():
    bundle = make_bundle()
    encoder = Encoder(bundle.configurations[0])
    volume = make_volume((16, 16, 16))
    volume.array[:, :8] += 100
    case = preprocess(volume, None, bundle.plan)
    turned = case.image[:, ::-1].copy()
    other = encoder.embed(type(case)(turned, None, case.geometry, case.original))
    one = encoder.embed(case)
    layout = slice(16, 24)
    assert np.corrcoef(one[layout], other[layout])[0, 1] < -0.5


@pytest.mark.parametrize("size", [(5, 40, 20), (60, 60, 60), (16, 16, 16)])
def test_any_size_gives_one_vector(size):
    bundle = make_bundle()
    encoder = Encoder(bundle.configurations[0])
    assert encoder.embed(preprocess(make_volume(size), None, bundle.plan)).shape == (40,)


def test_networks_of_slices_have_two_axes():
    bundle = make_bundle(make_plan(dims=2))
    encoder = Encoder(bundle.configurations[0])
    case = preprocess(make_volume((20, 18, 12)), None, bundle.plan)
    assert encoder.embed(case).shape == (encoder.length,) == (8 * 4,)


def test_other_networks_have_an_end_too():
    plan = make_plan()
    network = UNetSpec(
        dims=3, in_channels=1, classes=3, features=(4, 8, 16),
        strides=((1,) * 3, (2,) * 3, (2,) * 3),
    )  # fmt: skip
    bundle = make_bundle(plan.model_copy(update={"network": network}))
    assert Encoder(bundle.configurations[0]).length == 16 * 5
