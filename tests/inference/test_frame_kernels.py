"""Colours to grey as Pillow does it, and masks over pictures as a plain twin paints them."""

import numpy as np
import pytest
from PIL import Image

from medseg.inference.frame_kernels import painted, to_luma


def test_grey_is_that_of_pillow() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (17, 13, 3), dtype=np.uint8)
    grey = to_luma(pixels.transpose(2, 1, 0)[..., np.newaxis])
    assert grey.shape == (13, 17, 1)
    assert (np.array(Image.fromarray(pixels).convert("L")) == grey[..., 0].T).all()


def plain_twin(picture, mask, colours, low, high):
    shown = (picture.astype(np.float32) - low) * (np.float32(255) / (high - low))
    shown = np.broadcast_to(np.clip(shown, 0, 255), (*mask.shape, 3))
    padded = np.pad(mask, 1, mode="edge")
    inside = np.ones(mask.shape, bool)
    for other in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        inside &= other == mask
    tinted = 0.7 * shown + 0.3 * colours[mask]
    over = np.where(inside[..., None], tinted, colours[mask])
    return np.floor(np.where(mask[..., None] > 0, over, shown) + 0.5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("kind", "low", "high"), [
    (np.uint8, 0.0, 255.0), (np.uint8, 255.0, 0.0), (np.int16, -100.0, 900.0),
])  # fmt: skip
def test_it_paints_as_the_plain_twin(channels: int, kind: type, low: float, high: float) -> None:
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 200, (15, 19, channels)).astype(kind)
    mask = np.repeat(np.repeat(rng.integers(0, 3, (5, 7)), 3, 0), 3, 1)[:15, :19].astype(np.uint8)
    colours = rng.integers(0, 256, (3, 3), dtype=np.uint8)
    found = painted(picture, mask, colours, low, high).astype(int)
    assert np.abs(found - plain_twin(picture, mask, colours, low, high)).max() <= 1


def test_nothing_is_drawn_where_nothing_is() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    colours = np.zeros((1, 3), np.uint8)
    assert (painted(picture, np.zeros((9, 8), np.uint8), colours, 0, 255) == picture).all()


def test_a_picture_of_one_value_is_shown_black() -> None:
    picture = np.full((4, 4, 1), 7, np.int16)
    assert not painted(picture, np.zeros((4, 4), np.uint8), np.zeros((1, 3), np.uint8), 7, 7).any()
