import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from medseg.transforms.intensity import (
    add_noise,
    apply_gamma,
    blur,
    lower_resolution,
    scale_brightness,
    scale_contrast,
)


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(size=(2, 12, 10, 8)).astype(np.float32)


def test_noise_has_its_deviation_and_comes_from_its_seed(image):
    noise = add_noise(image, 0.3, 5) - image
    assert noise.std() == pytest.approx(0.3, rel=0.05)
    assert np.array_equal(add_noise(image, 0.3, 5), add_noise(image, 0.3, 5))
    assert not np.array_equal(add_noise(image, 0.3, 5), add_noise(image, 0.3, 6))


def test_blur_is_scipys_gaussian(image):
    sigmas = ((0.5, 1.0, 0.8), (0.0, 0.0, 0.0))
    expected = gaussian_filter(image[0], sigmas[0], mode="nearest")
    out = blur(image, sigmas)
    np.testing.assert_allclose(out[0], expected, atol=1e-5)
    assert np.array_equal(out[1], image[1])


def test_blur_keeps_a_constant_also_beside_edges():
    flat = np.full((1, 3, 1, 9), 2.5, np.float32)
    np.testing.assert_allclose(blur(flat, ((1.0, 1.0, 1.0),)), flat, rtol=1e-6)


@pytest.mark.parametrize("zoom", [0.5, 0.61, 0.9])
def test_low_resolution_is_nearest_down_and_linear_up(image, zoom):
    out = lower_resolution(image, ((1.0,) * 3, (zoom,) * 3))
    size = [round(n * zoom) for n in image.shape[1:]]
    small = F.interpolate(torch.from_numpy(image[None, 1:]), size=size, mode="nearest-exact")
    again = F.interpolate(small, size=image.shape[1:], mode="trilinear")
    np.testing.assert_allclose(out[1], again[0, 0], atol=1e-5)
    assert np.array_equal(out[0], image[0])


def test_slices_keep_their_resolution_along_k(image):
    one = lower_resolution(image[..., :1], ((0.5, 0.5, 1.0),) * 2)
    many = lower_resolution(image, ((0.5, 0.5, 1.0),) * 2)
    np.testing.assert_allclose(one[..., 0], many[..., 0], atol=1e-6)


def test_brightness_multiplies_each_channel(image):
    out = scale_brightness(image, (0.5, 2.0))
    assert np.array_equal(out[0], image[0] / 2)
    assert np.array_equal(out[1], image[1] * 2)


def test_contrast_spreads_about_the_mean_within_the_range(image):
    out = scale_contrast(image, (0.8, 1.25))
    mean = image.mean((1, 2, 3), keepdims=True)
    expected = (image - mean) * np.reshape([0.8, 1.25], (2, 1, 1, 1)) + mean
    low, high = image.min((1, 2, 3), keepdims=True), image.max((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(out, np.clip(expected, low, high), atol=1e-5)


@pytest.mark.parametrize("inverted", [False, True])
def test_gamma_is_the_published_formula(image, inverted):
    out = apply_gamma(image, (0.7, 1.4), inverted=inverted)
    for channel, exponent in enumerate((0.7, 1.4)):
        x = -image[channel] if inverted else image[channel]
        mean, deviation = x.mean(), x.std()
        bent = ((x - x.min()) / np.ptp(x)) ** exponent
        bent = (bent - bent.mean()) / bent.std() * deviation + mean
        np.testing.assert_allclose(out[channel], -bent if inverted else bent, atol=2e-5)


@pytest.mark.parametrize("inverted", [False, True])
def test_gamma_of_one_changes_nothing(image, inverted):
    np.testing.assert_allclose(apply_gamma(image, (1, 1), inverted=inverted), image, atol=2e-6)


def test_a_flat_channel_stays_flat_and_finite():
    flat = np.full((1, 4, 4, 4), -0.7, np.float32)
    for out in (
        apply_gamma(flat, (0.7,), inverted=False),
        apply_gamma(flat, (1.5,), inverted=True),
        scale_contrast(flat, (1.2,)),
    ):
        np.testing.assert_allclose(out, flat, atol=1e-6)


def test_nothing_changes_its_input(image):
    before = image.copy()
    for function, setting in (
        (blur, ((1.0,) * 3,) * 2),
        (lower_resolution, ((0.5,) * 3,) * 2),
        (scale_brightness, (1.2, 0.8)),
        (scale_contrast, (1.2, 0.8)),
    ):
        function(image, setting)
    add_noise(image, 0.1, 0)
    apply_gamma(image, (0.8, 1.2), inverted=True)
    assert np.array_equal(image, before)
