"""A network that torch's compiler has made a program of, as an engine on the CPU.

Torch's compiler (inductor) writes C++ for what lies between the convolutions, packs their weights
for oneDNN, and leaves a package that is loaded in milliseconds and needs no compiler any more.
A package is a program: see `medseg.inference.exported.NATIVE` for where it may come from.
"""

import warnings
from pathlib import Path

import numpy as np
import torch

from medseg.errors import CorruptEngine
from medseg.inference.engine import Engine
from medseg.types import FloatArray


def runtime_version() -> str:
    """Name and version of the runtime: a package belongs to one version of torch."""
    return f"torch {torch.__version__} compiled"


class CompiledEngine(Engine):
    """A package of one network.

    It runs on as many threads as torch does.

    Args:
        path: The `.pt2` file.
        precision: What it computes with, for the record.

    Raises:
        CorruptEngine: If torch does not take the file.
    """

    name = "compiled"

    def __init__(self, path: Path, *, precision: str) -> None:
        self.precision = precision
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._package = torch._inductor.aoti_load_package(str(path))
        except (RuntimeError, OSError) as error:
            raise CorruptEngine(
                f"Torch takes the package of an engine; it refuses {path}.",
                received=(" ".join(str(error).split()) or type(error).__name__)[:200],
                cure="Export the bundle again on this machine.",
            ) from error

    def run(self, batch: FloatArray) -> FloatArray:
        """Logits of a batch; see `Engine.run`."""
        image = torch.from_numpy(np.ascontiguousarray(batch, np.float32))
        with torch.inference_mode():
            found: FloatArray = self._package(image).contiguous().numpy()
        return found
