"""A network becomes a program for this machine's processor, by torch's own compiler."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from medseg.errors import MissingDependency, NoEngine
from medseg.networks.network import Network

_MOST = 64
"""Patches of a batch, at most."""

_SETTINGS = {
    "freezing": True,
    "cpp.dynamic_threads": True,
}
"""Weights are constants, so that they are packed for oneDNN beforehand: without that a package is
as slow as torch itself. And threads are as many as torch has when it runs, not when it compiled."""


def write_package(network: Network, path: Path, patch: Sequence[int]) -> None:
    """Compile a network in float32 for the CPU. Half a minute and more for a network of usual size.

    Args:
        network: As `Network.deployed` gives it, on the CPU; it is left as it is.
        path: The `.pt2` file to write.
        patch: Channels and voxels of a patch, (C, *patch): fixed; batches may have any size.

    Raises:
        MissingDependency: If there is no C++ compiler.
        NoEngine: If torch's compiler does not take the network.
    """
    require_compiler()
    # Two samples: an exported batch of one would be taken for a constant.
    example, batch = torch.zeros(2, *patch), torch.export.Dim("batch", min=1, max=_MOST)
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(path), inductor_configs=dict(_SETTINGS)
            )
    # Torch and its compiler raise whatever their many parts raise, and not one kind of error.
    except Exception as error:
        raise NoEngine(
            "An engine is compiled of networks that torch's compiler takes.",
            received=f"{type(error).__name__}: {' '.join(str(error).split())}"[:300],
            cure="Export to openvino or onnx, or predict in torch.",
        ) from error


def require_compiler() -> None:
    """Pass if torch finds a C++ compiler.

    Raises:
        MissingDependency: If it does not.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except (InvalidCxxCompiler, OSError) as error:
        raise MissingDependency(
            "The engine compiled is built by a C++ compiler.",
            received="none: neither g++ nor clang++, and none that the variable CXX names",
            cure="Install one (Debian: apt install g++), or export to openvino.",
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what torch's compiler says of its own parts."""
    logger = logging.getLogger("torch")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
