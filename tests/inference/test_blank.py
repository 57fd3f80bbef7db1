"""Nothing is asked twice about windows that are alike, and nothing changes by that."""

import numpy as np
import pytest

from medseg.inference.blank import Blanks
from medseg.inference.engine import Part
from medseg.inference.passage import Passage
from medseg.inference.window import slabs, sweep
from medseg.space.votes import Evidence
from medseg.specs import WindowSpec
from medseg.volume.geometry import Geometry

SIZE = (20, 18, 22)
GRID = Geometry.from_spacing((1.0, 1.0, 1.0), SIZE)
SPEC = WindowSpec(patch_size=(6, 6, 6))


class Asked:
    """A network whose answer follows from what it is shown; it counts how often."""

    opinions = 1

    def __init__(self, classes, activation="softmax"):
        self.classes, self.activation, self.windows = classes, activation, 0

    def parts(self, batch, depth):
        self.windows += len(batch)
        level = batch.mean(axis=1, keepdims=True)
        place = np.linspace(0, 1, batch.shape[2]).reshape(-1, *[1] * (batch.ndim - 3))
        numbers = np.arange(self.classes).reshape(1, -1, *[1] * (batch.ndim - 2))
        values = np.clip(1 - (level + place - numbers) ** 2 / 4, 0, 1).astype(np.float32)
        for first in range(0, batch.shape[2], 2):
            yield Part(first, values[:, :, first : first + 2].copy())


def in_air():
    image = np.full((1, *SIZE), -1.0, np.float32)
    image[0, 8:12, 8:12, 8:12] = np.random.default_rng(0).random((4, 4, 4)) * 3
    return image


def passed(image, network, classes, **how):
    passage = Passage(2, 6, 4)
    return list(slabs(image, network, SPEC, classes=classes, geometry=GRID, passage=passage, **how))


@pytest.mark.parametrize("classes", [3, 12])
def test_windows_of_one_intensity_are_shown_once(classes, monkeypatch):
    network, every = Asked(classes), Asked(classes)
    found = passed(in_air(), network, classes)
    monkeypatch.setattr(Blanks, "_alike", lambda self, patch, key: every.parts(patch[None], 0.0))
    expected = passed(in_air(), every, classes)
    assert network.windows < every.windows / 2
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.top.weights, b.top.weights)
        np.testing.assert_array_equal(a.top.classes, b.top.classes)


def test_other_intensities_get_other_answers():
    image = np.zeros((1, *SIZE), np.float32)
    image[0, :, :, 11:] = 2.0
    network = Asked(3)
    top = sweep(image, network, SPEC, classes=3, geometry=GRID)
    assert top.weights[:, 0, 0, 0].argmax() != top.weights[:, -1, 0, -1].argmax()


def test_a_large_answer_is_not_kept(monkeypatch):
    monkeypatch.setattr("medseg.inference.blank.MOST_BYTES", 10)
    network = Asked(3)
    teller = Blanks(network, Evidence("softmax", 16.0), 3)
    for _ in range(2):
        assert list(teller.parts(np.zeros((1, 1, 6, 6, 6), np.float32)))
    assert network.windows == 2
    assert teller.spared == 0


@pytest.mark.parametrize(("activation", "background"), [("softmax", 1.0), ("sigmoid", 0.0)])
def test_air_is_background_unseen(activation, background):
    network = Asked(3, activation)
    top = sweep_with_air(in_air(), network)
    every = Asked(3, activation)
    sweep(np.random.default_rng(0).random((1, *SIZE)), every, SPEC, classes=3, geometry=GRID)
    assert network.windows < every.windows / 2
    assert top.weights[0, 0, 0, 0] == pytest.approx(background)
    assert not top.weights[1:, 0, 0, 0].any()


def sweep_with_air(image, network):
    (slab,) = slabs(
        image,
        network,
        SPEC,
        classes=3,
        geometry=GRID,
        passage=Passage.whole(SIZE, SPEC),
        air=(-0.5,),
    )
    return slab.top


def test_slices_may_be_blank_too():
    network = Asked(3)
    image = np.zeros((1, 12, 12, 5), np.float32)
    spec = WindowSpec(patch_size=(6, 6, 1))
    grid = Geometry.from_spacing((1.0, 1.0, 1.0), (12, 12, 5))
    top = sweep(image, network, spec, classes=3, geometry=grid)
    assert network.windows == 1
    assert (top.weights.max(0) > 0).all()
