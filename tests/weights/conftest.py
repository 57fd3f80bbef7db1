"""Checkpoints written as their authors' code writes them, and the networks that they become."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from medseg.bundle import build_member
from medseg.weights import Conversion, convert

Converting = Callable[..., tuple[Conversion, nn.Module]]


@pytest.fixture
def converted(tmp_path: Path) -> Converting:
    """A state dict is saved and converted; gives what came of it and its first network."""

    def conversion(state: dict[str, Tensor], arch: str, *arguments, **options):
        path = tmp_path / "weights.pth"
        torch.save(state, path)
        done = convert([path], arch, *arguments, **options)
        return done, build_member(done.bundle)

    return conversion


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield
