"""A network as an ONNX graph: batches of any size, patches of one size."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import torch

from medseg.errors import MissingDependency
from medseg.networks.network import Network

if TYPE_CHECKING:
    from onnx import ModelProto

INPUT, OUTPUT = "image", "logits"
"""Names of what goes in (B, C, *patch) and what comes out (B, N, *patch)."""

_MOST = 1024
"""Largest batch that the graph promises to take."""


def onnx_graph(network: Network, patch: Sequence[int]) -> "ModelProto":
    """The graph of a network, its weights under their own names.

    Args:
        network: As `Network.deployed` gives it, on the CPU.
        patch: Channels and voxels of a patch, (C, *patch).

    Raises:
        MissingDependency: If onnx or onnxscript is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingDependency(
            "Exporting needs onnx and onnxscript.",
            received=str(error),
            cure='Install them: pip install "medseg[export]".',
        ) from error
    # Two samples: an exported batch of one would be taken for a constant.
    example = torch.zeros(2, *patch)
    batch = torch.export.Dim("batch", min=1, max=_MOST)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            verbose=False,
            dynamic_shapes=({0: batch},),
            input_names=[INPUT],
            output_names=[OUTPUT],
        )
    if program is None:
        raise RuntimeError("torch gave no ONNX program")
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what torch says of packages that it does not find and will not need."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
