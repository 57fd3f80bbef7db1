"""What is particular to the scaling of one kind; test_network_costs.py counts them all."""

import pytest

from medseg.dataset.scaling import lite, scaled_by
from medseg.dataset.topology import topology
from medseg.errors import PlanError


def small(base, spacing_mm=(1.0, 1.0, 1.0), patch=(40, 56, 40)):
    return lite(topology(spacing_mm, patch), base=base, in_channels=1, classes=3)


@pytest.mark.parametrize(("base", "widths"), [(8, (8, 16, 32, 64)), (16, (8, 32, 64, 128))])
def test_lite_does_not_grow_with_the_time(base, widths):
    assert small(base).features == widths
    assert small(16) == small(32)


@pytest.mark.parametrize(("classes", "last"), [(2, 8), (9, 16), (106, 32)])
def test_lite_makes_logits_from_as_many_features_as_classes_if_it_can(classes, last):
    shape = topology((1.0, 1.0), (64, 64))
    assert lite(shape, base=32, in_channels=1, classes=classes).features[0] == last


def test_lite_halves_thick_slices_later():
    spec = small(32, (1.0, 1.0, 5.0), (128, 128, 16))
    assert spec.strides[:3] == ((1, 1, 1), (2, 2, 1), (2, 2, 1))
    assert spec.kernels[0] == (3, 3, 1)
    assert spec.kernels[-1] == (3, 3, 3)
    assert spec.encoder_convs[:2] == (1, 2)


def test_an_unknown_kind_is_refused():
    with pytest.raises(PlanError, match="Networks are plain_unet"):
        scaled_by("v_net")
