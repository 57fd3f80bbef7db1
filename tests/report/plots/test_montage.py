import numpy as np
import pytest
from PIL import Image

from medseg.errors import DifferentSpace
from medseg.report.plots.montage import overlay, save_overlay
from medseg.volume.geometry import Geometry
from medseg.volume.volume import Volume


def volume_on(geometry):
    noise = np.random.default_rng(0).normal(size=(1, *geometry.grid_size))
    return Volume(noise.astype(np.float32), geometry)


def test_a_montage_shows_every_label_in_its_colour(boxes, tmp_path):
    figure = overlay(
        volume_on(boxes.geometry), boxes.make_map(), boxes.make_map(1), names=("reference", "ours")
    )
    save_overlay(figure, tmp_path / "montage.png")
    pixels = np.asarray(Image.open(tmp_path / "montage.png").convert("RGB")).reshape(-1, 3)
    for colour in ((0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00)):
        assert (np.abs(pixels.astype(int) - colour).max(axis=1) < 12).sum() > 200


def test_slices_are_those_that_hold_a_structure(boxes):
    assert len(overlay(volume_on(boxes.geometry), boxes.make_map(), slices=8).axes) == 4
    assert len(overlay(volume_on(boxes.geometry), boxes.make_map(), slices=2).axes) == 2


def test_a_mask_on_another_grid_is_refused(boxes):
    other = Geometry.from_spacing((1.0, 1.0, 1.0), (16, 14, 8))
    with pytest.raises(DifferentSpace, match="an image and its mask"):
        overlay(volume_on(other), boxes.make_map())
