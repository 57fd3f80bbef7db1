from pathlib import Path

import pytest
import torch

from medseg.errors import CannotResume
from medseg.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

CHECKPOINT = Checkpoint(
    step=7,
    training_seconds=1.25,
    command_seconds=3.5,
    tensors={"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3, dtype=torch.int64)},
    facts={"finished": False, "scaler": {"scale": 65536.0}},
)


def test_comes_back_bit_for_bit(tmp_path: Path) -> None:
    save_checkpoint(CHECKPOINT, tmp_path / "c" / "fold_0.safetensors")
    back = load_checkpoint(tmp_path / "c" / "fold_0.safetensors")
    assert (back.step, back.training_seconds, back.command_seconds) == (7, 1.25, 3.5)
    assert back.facts == CHECKPOINT.facts
    assert back.tensors.keys() == CHECKPOINT.tensors.keys()
    assert all(torch.equal(back.tensors[n], t) for n, t in CHECKPOINT.tensors.items())


def test_a_later_one_takes_its_place_and_leaves_nothing_else(tmp_path: Path) -> None:
    for _ in range(3):
        save_checkpoint(CHECKPOINT, tmp_path / "fold_0.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["fold_0.safetensors"]


def test_missing_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotResume, match="goes on from its checkpoint"):
        load_checkpoint(tmp_path / "fold_0.safetensors")


@pytest.mark.parametrize("kept", [0, 5, 40, -1])
def test_truncated_one_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "fold_0.safetensors"
    save_checkpoint(CHECKPOINT, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CannotResume, match="must be whole"):
        load_checkpoint(path)
