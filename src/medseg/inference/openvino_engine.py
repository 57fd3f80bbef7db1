"""OpenVINO as an engine, on the CPU."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.errors import CorruptEngine, MissingDependency
from medseg.inference.engine import Engine
from medseg.types import FloatArray

if TYPE_CHECKING:
    import openvino

CURE = 'Install it: pip install "medseg[export]".'

REST = ["medseg", "rest"]
"""Where a quantised model says what its other layers compute in."""

_HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "f32"}
"""What is computed where a layer is not quantised. Without a hint OpenVINO takes bf16 on any
processor that has it, so that fp32 must be asked for."""


def runtime_version() -> str:
    """Name and version of the installed runtime.

    Raises:
        MissingDependency: If it is not installed.
    """
    return f"openvino {_runtime().__version__.partition('-')[0]}"


class OpenVinoEngine(Engine):
    """An OpenVINO model of one network.

    Args:
        path: The `.xml` file; the weights lie beside it as `.bin`.
        precision: "fp32", "bf16", "fp16", or "int8" for a quantised model.
        threads: Threads of one batch.

    Raises:
        MissingDependency: If OpenVINO is not installed.
        CorruptEngine: If it does not take the file.
    """

    name = "openvino"

    def __init__(self, path: Path, *, precision: str, threads: int) -> None:
        self.precision = precision
        core = _runtime().Core()
        try:
            self._model = compiled(core.read_model(str(path)), precision, threads)
        except RuntimeError as error:
            raise CorruptEngine(
                f"OpenVINO takes the file of an engine; it refuses {path}.",
                received=" ".join(str(error).split())[-200:],
                cure="Export the bundle again.",
            ) from error
        self._request = self._model.create_infer_request()

    def run(self, batch: FloatArray) -> FloatArray:
        """Logits of a batch; see `Engine.run`."""
        given = np.ascontiguousarray(batch, dtype=np.float32)
        self._request.infer([given], share_inputs=True)
        return np.array(self._request.get_output_tensor().data, np.float32)

    def executed(self) -> tuple[tuple[str, str], ...]:
        """Every layer of the graph that is really run: its kind and the kernel that runs it."""
        layers = []
        for node in self._model.get_runtime_model().get_ordered_ops():
            facts = node.get_rt_info()
            layers.append((_word(facts["layerType"]), _word(facts["primitiveType"])))
        return tuple(layers)

    @property
    def int8_layers(self) -> int:
        """How many convolutions, transposed ones among them, are really run in INT8."""
        return sum(number == "i8" for number in self._convolved())

    @property
    def computes_in(self) -> frozenset[str]:
        """The numbers that convolutions are really computed in: "f32", "bf16", "f16", "i8"."""
        return frozenset(self._convolved())

    def _convolved(self) -> list[str]:
        """The numbers of each convolution: the end of its kernel's name."""
        return [
            kernel.lower().rpartition("_")[2]
            for kind, kernel in self.executed()
            if kind in ("Convolution", "Deconvolution")
        ]


def compiled(model: Any, precision: str, threads: int) -> "openvino.CompiledModel":
    """A model made ready for the CPU.

    Args:
        model: An OpenVINO model.
        precision: What it computes with.
        threads: Threads of one batch.

    Raises:
        RuntimeError: If OpenVINO refuses it.
    """
    hint = model.get_rt_info(REST).astype(str) if model.has_rt_info(REST) else _HINTS[precision]
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": hint,
    }
    return _runtime().Core().compile_model(model, "CPU", settings)


def _word(value: Any) -> str:
    return str(value.astype(str)) if hasattr(value, "astype") else str(value)


def _runtime() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise MissingDependency(
            "The engine openvino needs OpenVINO.", received=str(error), cure=CURE
        ) from error
    return openvino
