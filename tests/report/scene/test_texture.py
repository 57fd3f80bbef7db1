import base64
import io

import numpy as np
import pytest
from PIL import Image

from medseg.report.scene.texture import Texture, texture_of
from medseg.volume.geometry import Geometry
from medseg.volume.volume import Source, Volume


def pixels_of(texture: Texture) -> np.ndarray:
    """The slices (I, J, K) as a page reads them from the picture."""
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(texture.address.split(",")[1]))))
    size_i, size_j, size_k = texture.grid_size
    slices = [
        picture[
            (k // texture.columns) * size_j : (k // texture.columns + 1) * size_j,
            (k % texture.columns) * size_i : (k % texture.columns + 1) * size_i,
        ]
        for k in range(size_k)
    ]
    return np.stack(slices).transpose(2, 1, 0)


def ramp() -> Volume:
    """Bright to the right, to the front and to the head, each in its own measure."""
    i, j, k = np.indices((6, 5, 7))
    array = (i + 10 * j + 100 * k).astype(np.float32)
    return Volume(array[np.newaxis], Geometry.from_spacing((1.0, 2.0, 3.0), (6, 5, 7)))


def test_slices_come_back_in_their_places() -> None:
    texture = texture_of(ramp())
    assert texture.grid_size == (6, 5, 7)
    assert texture.joined == (1, 1, 1)
    share = (ramp().array[0] - texture.low) / (texture.high - texture.low)
    expected = np.clip(share * 255, 0, 255)
    assert np.abs(pixels_of(texture).astype(float) - expected).max() <= 1.0


def test_orientation_changes_nothing() -> None:
    straight, turned = texture_of(ramp()), texture_of(ramp().reoriented("PIL"))
    assert straight.address == turned.address
    np.testing.assert_allclose(straight.geometry.affine, turned.geometry.affine)


def test_a_large_image_is_joined_and_its_blocks_keep_their_places() -> None:
    texture = texture_of(ramp(), most_voxels=60)
    assert np.prod(texture.grid_size) <= 60
    assert texture.joined[0] > texture.joined[2]
    first = texture.centres[0][0]
    assert first == (texture.joined[0] - 1) / 2


def test_ct_has_the_window_of_soft_tissue() -> None:
    array = np.linspace(-1000, 1000, 4**3, dtype=np.float32).reshape(1, 4, 4, 4)
    volume = Volume(
        array, Geometry.from_spacing((1.0, 1.0, 1.0), (4, 4, 4)), source=Source(modality="CT")
    )
    texture = texture_of(volume)
    assert (texture.low, texture.high) == (-160.0, 240.0)


def test_a_picture_that_is_too_long_is_made_coarser(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).normal(size=(1, 24, 24, 24)).astype(np.float32)
    volume = Volume(noise, Geometry.from_spacing((1.0, 1.0, 1.0), (24, 24, 24)))
    whole = texture_of(volume)
    monkeypatch.setattr("medseg.report.scene.texture.MOST_CHARACTERS", len(whole.address) // 2)
    small = texture_of(volume)
    assert len(small.address) <= len(whole.address) // 2
    assert small.grid_size < whole.grid_size
