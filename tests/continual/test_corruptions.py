"""Worse copies: drawn by a seed, as bad as was asked, with the truth where it was."""

import numpy as np
import pytest
from watching import LABELS, volume_of

from medseg.continual.corruptions import CORRUPTIONS, corrupted, mirrored, powered
from medseg.volume.volume import LabelMap


def reference(volume):
    return LabelMap((volume.array[0] > 120).astype(np.uint8), volume.geometry, LABELS)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_the_same_seed_gives_the_same_copy(kind):
    volume = volume_of(0)
    one, label = corrupted(volume, reference(volume), kind, strength=0.5, seed=3)
    other, _ = corrupted(volume, None, kind, strength=0.5, seed=3)
    np.testing.assert_array_equal(one.array, other.array)
    assert label.geometry == one.geometry
    assert one.array.dtype == np.float32
    assert np.isfinite(one.array).all()


@pytest.mark.parametrize("kind", sorted(set(CORRUPTIONS) - {"thick slices"}))
def test_more_strength_is_further_from_the_original(kind):
    volume = volume_of(0)
    away = [
        np.abs(corrupted(volume, None, kind, strength=s, seed=0)[0].array - volume.array).mean()
        for s in (0.0, 0.3, 0.9)
    ]
    assert away[0] == pytest.approx(0, abs=1e-3)
    assert away[0] < away[1] < away[2]


@pytest.mark.parametrize("kind", sorted(set(CORRUPTIONS) - {"thick slices"}))
def test_the_reference_is_left_alone(kind):
    volume = volume_of(0)
    given = reference(volume)
    assert corrupted(volume, given, kind, strength=0.9, seed=0)[1] is given


def test_thick_slices_take_the_reference_along():
    volume = volume_of(0)
    worse, label = corrupted(volume, reference(volume), "thick slices", strength=1 / 3, seed=0)
    assert worse.spacing_mm == pytest.approx((1, 1, 2))
    assert worse.geometry.grid_size == (12, 14, 5)
    assert label.array.shape == (12, 14, 5)


@pytest.mark.parametrize(("slices", "left"), [(1, 1), (2, 2), (3, 2), (5, 2), (8, 2), (24, 4)])
def test_a_volume_stays_one_however_thick_its_slices_become(slices, left):
    volume = volume_of(0, (12, 14, slices))
    worse, _ = corrupted(volume, None, "thick slices", strength=1.6, seed=0)
    assert worse.geometry.grid_size == (12, 14, left)


def test_a_mirror_undoes_itself_and_powers_keep_the_ends():
    volume = volume_of(0)
    turned = mirrored(volume)
    assert turned.geometry == volume.geometry
    np.testing.assert_array_equal(turned.array[:, ::-1], volume.array)
    np.testing.assert_array_equal(mirrored(turned).array, volume.array)
    darker = powered(volume, 2.0).array
    assert darker.max() == pytest.approx(volume.array.max(), rel=1e-5)
    assert darker.min() == pytest.approx(volume.array.min(), abs=1e-3)
    assert darker.mean() < volume.array.mean()
