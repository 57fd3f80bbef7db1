"""What is near enough, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from medseg.compression.parity import BOUNDS, Comparison
from medseg.errors import EngineDiffers
from medseg.inference.engine import Engine


class Off(Engine):
    """The network's logits, changed."""

    name = "off"
    precision = "fp32"

    def __init__(self, network, change):
        self.network, self.change = network, change

    def run(self, batch):
        with torch.inference_mode():
            return self.change(self.network(torch.from_numpy(batch)).numpy())


@pytest.fixture
def module():
    torch.manual_seed(0)
    return nn.Conv2d(1, 3, 3, padding=1)


@pytest.fixture
def batches():
    generator = np.random.default_rng(0)
    return [generator.normal(size=(1, 1, 9, 8)).astype(np.float32) for _ in range(4)]


def compared(module, batches, change, activation="softmax"):
    comparison = Comparison(activation, source="noise", against="fp32")
    comparison.add(Off(module, change), module, batches)
    return comparison


def test_the_same_is_perfect(module, batches):
    parity = compared(module, batches, lambda x: x).require_near("fp32", name="off")
    assert (parity.patches, parity.dice, parity.largest_difference) == (4, 1.0, 0.0)
    assert parity.largest_logit > 0
    assert (parity.source, parity.against) == ("noise", "fp32")


@pytest.mark.parametrize("precision", list(BOUNDS))
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[:, ::-1],
        lambda x: x + 0.5 * np.sign(x),
        lambda x: x * np.nan,
        lambda x: np.zeros_like(x),
    ],
    ids=["swapped", "shifted", "nan", "nothing"],
)
def test_what_differs_is_refused(module, batches, precision, change):
    with pytest.raises(EngineDiffers, match="off: Dice"):
        compared(module, batches, change).require_near(precision, name="off")


def test_bounds_grow_with_the_coarseness_of_numbers(module, batches):
    noisy = compared(module, batches, lambda x: x + np.float32(3e-3) * np.sign(x))
    noisy.require_near("bf16", name="off")
    with pytest.raises(EngineDiffers, match="logits that differ"):
        noisy.require_near("fp32", name="off")


def test_regions_are_elected_by_their_sign(module, batches):
    above = compared(module, batches, lambda x: x + 1e-5, activation="sigmoid")
    assert above.require_near("fp32", name="off").dice > 0.99
    inverted = compared(module, batches, lambda x: -x, activation="sigmoid")
    with pytest.raises(EngineDiffers, match=r"Dice 0\.0"):
        inverted.require_near("int8", name="off")
