"""Weights are read and checked without torch, and made tensors when they are looked at."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from medseg.bundle_weights import WEIGHTS_FILE, StoredWeights, packed, read_weights
from medseg.errors import CorruptBundle


@dataclass(frozen=True)
class Described:
    """As much of a bundle's description as reading its weights takes."""

    weights_sha256: str


def put(folder: Path, content: bytes) -> Described:
    (folder / WEIGHTS_FILE).write_bytes(content)
    return Described(hashlib.sha256(content).hexdigest())


@pytest.fixture
def states() -> list[dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    return [
        {"a.weight": torch.randn(3, 2), "a.steps": torch.tensor(n), "b": torch.randn(2, 3).T}
        for n in (4, 5)
    ]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_was_packed_is_read_in_float32(states, dtype, tmp_path):
    found = read_weights(tmp_path, put(tmp_path, packed(states, dtype)), 2)
    for state, weights in zip(states, found, strict=True):
        assert sorted(weights) == sorted(state)
        assert len(weights) == 3
        for name, tensor in state.items():
            kept = tensor.to(getattr(torch, dtype)) if tensor.is_floating_point() else tensor
            assert torch.equal(weights[name], kept.float() if kept.is_floating_point() else kept)
            assert weights[name].dtype == tensor.dtype


def test_a_tensor_may_be_changed_and_the_weights_stay(states, tmp_path):
    (weights, _) = read_weights(tmp_path, put(tmp_path, packed(states, "float32")), 2)
    assert isinstance(weights, StoredWeights)
    weights["b"].zero_()
    weights["a.steps"].add_(1)
    assert torch.equal(weights["b"], states[0]["b"])
    assert int(weights["a.steps"]) == 4


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"0.a": torch.tensor([1.0, float("nan")])}, r"'0\.a' that are no finite numbers"),
        ({"0.a": torch.tensor([float("inf")])}, "no finite numbers"),
        ({"1.a": torch.ones(2)}, r"'1\.a' of none of its 1 networks"),
        ({"a": torch.ones(2)}, "'a' of none of its 1 networks"),
        ({"0.a": torch.ones(2, dtype=torch.bfloat16)}, "BF16"),
    ],
)
def test_weights_that_nobody_can_use_are_refused(state, words, tmp_path):
    with pytest.raises(CorruptBundle, match=words):
        read_weights(tmp_path, put(tmp_path, save(state)), 1)


def test_what_is_no_file_of_weights_is_refused(tmp_path):
    with pytest.raises(CorruptBundle):
        read_weights(tmp_path, put(tmp_path, b"nothing of the kind"), 1)
