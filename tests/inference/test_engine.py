"""The contract that every engine keeps, and what torch adds."""

import numpy as np
import pytest
import torch
from torch import nn

from medseg.errors import MissingDependency
from medseg.inference import torch_engine
from medseg.inference.engine import Engine
from medseg.inference.torch_engine import TorchEngine, choose_device, faster_precision
from medseg.networks import Network


class Small(Network):
    def __init__(self, dims=3, classes=3):
        super().__init__()
        torch.manual_seed(0)
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.body = nn.Sequential(conv(1, 4, 3, padding=1), nn.Dropout(0.5))
        self.last = conv(4, classes, 1)

    @property
    def head(self):
        return self.last

    def features(self, image):
        return self.body(image)

    def forward(self, image):
        return self.head(self.features(image))


class Plain(Network):
    """Without weights: the features are the logits."""

    head = nn.Identity()

    def forward(self, image):
        return self.features(image)


@pytest.fixture
def module():
    return Small()


@pytest.fixture
def batch():
    return np.random.default_rng(0).normal(size=(2, 1, 6, 7, 8)).astype(np.float32)


def test_logits_are_contiguous_float32_of_the_patch(module, batch):
    logits = TorchEngine(module, device="cpu").run(batch)
    assert logits.shape == (2, 3, 6, 7, 8)
    assert logits.dtype == np.float32
    assert logits.flags.c_contiguous
    assert logits.flags.writeable


def test_dropout_is_off_and_results_repeat(module, batch):
    network = TorchEngine(module.train(), device="cpu")
    np.testing.assert_array_equal(network.run(batch), network.run(batch))


def test_a_flipped_view_is_taken(module, batch):
    network = TorchEngine(module, device="cpu")
    np.testing.assert_array_equal(
        network.run(np.flip(batch, 2)), network.run(np.ascontiguousarray(np.flip(batch, 2)))
    )


@pytest.mark.parametrize(("dims", "size"), [(3, (17, 6, 7)), (2, (17, 33))])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-6), ("bf16", 0.05)])
def test_parts_are_the_whole(monkeypatch, dims, size, precision, tolerance):
    monkeypatch.setattr(torch_engine, "PART_VALUES", 10_000)
    network = Small(dims, classes=30).eval()
    image = np.random.default_rng(0).normal(size=(2, 1, *size)).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(image)).numpy()
    parts = list(TorchEngine(network, device="cpu", precision=precision).parts(image))
    assert len(parts) > 2
    for first, logits in parts:
        assert logits.size <= 10_000
        assert logits.flags.c_contiguous
        assert logits.flags.writeable
        found = expected[:, :, first : first + logits.shape[2]]
        np.testing.assert_allclose(logits, found, atol=tolerance)
    assert sum(logits.shape[2] for _, logits in parts) == size[0]


def test_features_are_computed_once_a_batch(monkeypatch, module, batch):
    monkeypatch.setattr(torch_engine, "PART_VALUES", 1)
    calls = []
    monkeypatch.setattr(module, "features", lambda x: calls.append(x) or module.body(x))
    parts = list(TorchEngine(module, device="cpu", precision="fp32").parts(batch))
    assert (len(parts), len(calls)) == (6, 1)


def test_an_engine_of_whole_logits_gives_one_part(batch):
    class Whole(Engine):
        def run(self, batch):
            return batch * 2

    (part,) = Whole().parts(batch)
    assert part.first == 0
    np.testing.assert_array_equal(part.values, batch * 2)


def test_half_precision_stays_close(module, batch):
    exact = TorchEngine(module, device="cpu", precision="fp32").run(batch)
    half = TorchEngine(module, device="cpu", precision="bf16").run(batch)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, exact, atol=0.05)
    assert not np.array_equal(half, exact)


def test_the_probe_keeps_fp32_where_bf16_is_far_off(batch):
    class Far(Plain):
        def features(self, image):
            near = torch.is_autocast_enabled("cpu")
            return torch.cat((image * 0 + (9 if near else 0), image * 0), 1)

    assert faster_precision(Far(), torch.from_numpy(batch)) == "fp32"


def test_the_probe_takes_bf16_where_it_is_faster_and_agrees(batch):
    class Fast(Plain):
        def features(self, image):
            if not torch.is_autocast_enabled("cpu"):
                for _ in range(2000):
                    image = image * 1
            return torch.cat((image, -image), 1)

    assert faster_precision(Fast(), torch.from_numpy(batch)) == "bf16"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said():
    with pytest.raises(MissingDependency, match="needs a CUDA device"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"
