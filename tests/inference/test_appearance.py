"""What an image looks like: known answers, and what each number reacts to."""

import numpy as np
import pytest

from medseg.dataset.preprocess import Preprocessed
from medseg.inference.appearance import appearance
from medseg.volume.geometry import Geometry

SIZE = (14, 16, 12)


def case(array, geometry=None):
    geometry = geometry or Geometry.from_spacing((1.0, 1.0, 1.0), array.shape[-3:])
    return Preprocessed(array.astype(np.float32).reshape(-1, *array.shape[-3:]), None, geometry,
                        geometry)  # fmt: skip


def smooth():
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij")
    return 0.5 * i + 0.2 * j * k + 0.1 * k**2


def test_a_polynomial_is_found_again():
    found = appearance(case(smooth()))
    assert found["slow_i"] == pytest.approx(0.5, abs=1e-5)
    assert found["slow_jk"] == pytest.approx(0.2, abs=1e-5)
    assert found["slow_kk"] == pytest.approx(0.1, abs=1e-5)
    assert found["slow_j"] == pytest.approx(0, abs=1e-5)


def test_a_mirror_changes_the_sign_of_its_axis_alone():
    one, other = appearance(case(smooth())), appearance(case(smooth()[::-1]))
    assert other["slow_i"] == pytest.approx(-one["slow_i"])
    for name in one:
        if name != "slow_i":
            assert other[name] == pytest.approx(one[name], abs=1e-5)


def test_the_deviation_of_noise_is_told_and_edges_are_not_noise():
    noisy = np.random.default_rng(0).normal(0, 0.3, (40, 40, 40))
    noisy[20:] += 5
    found = appearance(case(noisy))
    for axis in "ijk":
        assert found[f"noise_{axis}"] == pytest.approx(0.3, rel=0.1)


def test_sizes_are_those_of_the_file_in_the_order_of_the_patient():
    geometry = Geometry.from_spacing((1.0, 2.0, 4.0), SIZE)
    turned = geometry.reordered((2, 0, 1), (False, True, False))
    found = appearance(case(np.zeros(turned.grid_size), turned))
    assert (found["spacing_r_mm"], found["spacing_a_mm"], found["spacing_s_mm"]) == (1, 2, 4)
    assert (found["extent_r_mm"], found["extent_a_mm"], found["extent_s_mm"]) == (14, 32, 48)


def test_channels_have_names_of_their_own_and_thin_axes_none():
    two = np.stack([smooth(), smooth() + 1])
    found = appearance(case(two))
    assert found["c2_q50"] == pytest.approx(found["c1_q50"] + 1)
    flat = appearance(case(smooth()[:, :, :1]))
    assert "noise_k" not in flat
    assert "slow_kk" not in flat
    assert all(np.isfinite(value) for value in flat.values())


def test_large_images_are_thinned_without_changing_much(monkeypatch):
    rng = np.random.default_rng(1)
    image = rng.normal(size=(40, 40, 40)) + np.linspace(-1, 1, 40)[:, None, None]
    whole = appearance(case(image))
    monkeypatch.setattr("medseg.inference.appearance._MOST_VOXELS", 8000)
    for name, value in appearance(case(image)).items():
        assert value == pytest.approx(whole[name], abs=0.15)


def test_a_constant_image_has_finite_numbers():
    assert all(np.isfinite(value) for value in appearance(case(np.zeros(SIZE))).values())
