"""What holds for every engine. A member inherits `EngineContract` and says how one is made."""

import numpy as np
import torch

from medseg.compression.graph import onnx_graph
from medseg.networks import build
from medseg.specs import PlainUNetSpec

PATCH = (1, 8, 8, 4)
SPEC = PlainUNetSpec(
    dims=3,
    in_channels=1,
    classes=3,
    features=(4, 8),
    kernels=((3, 3, 3),) * 2,
    strides=((1, 1, 1), (2, 2, 2)),
    encoder_convs=(1, 1),
    decoder_convs=(1,),
)


def network():
    torch.manual_seed(0)
    return build(SPEC).deployed()


def graph():
    """The network as ONNX; made once, since that takes a second."""
    if "model" not in _MADE:
        _MADE["model"] = onnx_graph(network(), PATCH)
    return _MADE["model"]


_MADE = {}


class EngineContract:
    """Tests of one engine, made of `network()`.

    Attributes:
        tolerance: How far its logits may be from torch's.
    """

    name = ""
    tolerance = 1e-4

    def engine(self, folder):
        raise NotImplementedError

    def batch(self, count=2):
        return np.random.default_rng(0).normal(size=(count, *PATCH)).astype(np.float32)

    def test_it_gives_the_logits_of_the_network(self, tmp_path):
        engine = self.engine(tmp_path)
        with torch.inference_mode():
            expected = network()(torch.from_numpy(self.batch())).numpy()
        np.testing.assert_allclose(engine.run(self.batch()), expected, atol=self.tolerance)
        assert engine.name == self.name
        assert engine.precision == "fp32"

    def test_logits_are_float32_and_the_callers_own(self, tmp_path):
        engine = self.engine(tmp_path)
        first = engine.run(self.batch())
        assert first.dtype == np.float32
        assert first.flags.c_contiguous
        assert first.flags.writeable
        kept = first.copy()
        engine.run(self.batch() + 1)
        np.testing.assert_array_equal(first, kept)

    def test_any_batch_is_one_by_one(self, tmp_path):
        engine, batch = self.engine(tmp_path), self.batch(5)
        alone = np.concatenate([engine.run(batch[n : n + 1]) for n in range(5)])
        np.testing.assert_allclose(engine.run(batch), alone, atol=self.tolerance)

    def test_flipped_views_and_other_numbers_are_taken(self, tmp_path):
        engine, batch = self.engine(tmp_path), self.batch().astype(np.float64)
        flipped = np.flip(batch, 2)
        expected = engine.run(np.ascontiguousarray(flipped, np.float32))
        np.testing.assert_allclose(engine.run(flipped), expected, atol=self.tolerance)

    def test_parts_are_the_whole(self, tmp_path):
        engine, batch = self.engine(tmp_path), self.batch()
        parts = sorted(engine.parts(batch))
        whole = np.concatenate([part.values for part in parts], axis=2)
        np.testing.assert_allclose(whole, engine.run(batch), atol=self.tolerance)

    def test_it_looks_into_no_gates(self, tmp_path):
        engine = self.engine(tmp_path)
        assert engine.gate_names == ()
        assert self.name == "torch" or engine.attention(self.batch()).shape == (2, 0, *PATCH[1:])
