"""The shape of a U-Net from spacing and patch."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.dataset.topology import SMALLEST_EDGE, features, plain_unet, topology


def test_isotropic_axes_are_halved_together():
    shape = topology((1.0, 1.0, 1.0), (36, 50, 35))
    assert shape.patch_size == (40, 56, 40)
    assert shape.strides == ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    assert set(shape.kernels) == {(3, 3, 3)}
    assert shape.divisor == (8, 8, 8)


def test_a_coarse_axis_waits_until_the_others_have_come_near():
    shape = topology((0.625, 0.625, 3.6), (320, 320, 20))
    assert shape.kernels[:3] == ((3, 3, 1), (3, 3, 1), (3, 3, 3))
    assert shape.strides[1:] == ((2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 1))
    assert shape.kernels[-1] == (3, 3, 3)


def test_a_2d_network_has_2d_kernels():
    shape = topology((1.0, 1.0), (256, 256))
    assert len(shape.strides) == 7
    assert shape.patch_size == (256, 256)


def test_features_double_up_to_a_limit():
    assert features(32, 6, 3) == (32, 64, 128, 256, 320, 320)
    assert features(16, 6, 3) == (16, 32, 64, 128, 160, 160)
    assert features(32, 8, 2) == (32, 64, 128, 256, 512, 512, 512, 512)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from((0.4, 0.8, 1.0, 1.5, 3.0, 6.0)), min_size=2, max_size=3),
    st.data(),
)
def test_a_patch_grows_by_less_than_one_coarsest_voxel_and_keeps_its_edge(spacing_mm, data):
    size = data.draw(st.lists(st.integers(8, 200), min_size=len(spacing_mm), max_size=3))
    size = size[: len(spacing_mm)] + [8] * (len(spacing_mm) - len(size))
    shape = topology(spacing_mm, size)
    for grown, wanted, step in zip(shape.patch_size, size, shape.divisor, strict=True):
        assert wanted <= grown < wanted + step
        assert grown % step == 0
        assert grown // step >= SMALLEST_EDGE
    assert len(shape.kernels) == len(shape.strides)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_network_has_one_entry_a_stage(dims):
    shape = topology((1.0,) * dims, (32,) * dims)
    spec = plain_unet(shape, base=16, in_channels=2, classes=4)
    assert (spec.dims, spec.in_channels, spec.classes) == (dims, 2, 4)
    assert spec.features == (16, 32, 64, 128)
    assert spec.decoder_convs == (2, 2, 2)
