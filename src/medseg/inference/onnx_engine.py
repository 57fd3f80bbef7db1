"""ONNX Runtime as an engine."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.errors import CorruptEngine, MissingDependency
from medseg.inference.engine import Engine
from medseg.types import FloatArray

if TYPE_CHECKING:
    import onnxruntime

CURE = 'Install it: pip install "medseg[export]".'


def runtime_version() -> str:
    """Name and version of the installed runtime.

    Raises:
        MissingDependency: If it is not installed.
    """
    return f"onnxruntime {_runtime().__version__}"


class OnnxEngine(Engine):
    """An ONNX file of one network, run on the CPU.

    Args:
        path: The file.
        precision: What it was made for, for the record.
        threads: Threads of one batch.

    Raises:
        MissingDependency: If ONNX Runtime is not installed.
        CorruptEngine: If it does not take the file.
    """

    name = "onnx"

    def __init__(self, path: Path, *, precision: str, threads: int) -> None:
        self.precision = precision
        self._session = _session(path, threads)
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: FloatArray) -> FloatArray:
        """Logits of a batch; see `Engine.run`."""
        given = np.ascontiguousarray(batch, dtype=np.float32)
        (logits,) = self._session.run(None, {self._input: given})
        return np.asarray(logits, np.float32)


def int8_layers(path: Path) -> int:
    """How many convolutions of a file ONNX Runtime runs in INT8, by the graph that it makes of it.

    Args:
        path: The file.
    """
    import onnx

    with TemporaryDirectory() as folder:
        made = Path(folder) / "optimised.onnx"
        _session(path, 1, optimised=made)
        kinds = Counter(node.op_type for node in onnx.load(str(made)).graph.node)
    return sum(kinds[kind] for kind in ("QLinearConv", "ConvInteger"))


def _session(
    path: Path, threads: int, *, optimised: Path | None = None
) -> "onnxruntime.InferenceSession":
    """A session on the CPU.

    Args:
        path: The file.
        threads: Threads of one batch.
        optimised: Where the graph is written that is really run.
    """
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    try:
        return runtime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )  # fmt: skip
    except Exception as error:
        raise CorruptEngine(
            f"ONNX Runtime takes the file of an engine; it refuses {path}.",
            received=" ".join(str(error).split())[:200],
            cure="Export the bundle again.",
        ) from error


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency(
            "The engine onnx needs ONNX Runtime.", received=str(error), cure=CURE
        ) from error
    return onnxruntime
