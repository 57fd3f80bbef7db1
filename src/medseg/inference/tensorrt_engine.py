"""TensorRT as an engine, through its Python API; torch holds the memory on the GPU.

Written against TensorRT 10 and tested with a stand-in for it: no figure of it is measured yet.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medseg.errors import CorruptEngine, MissingDependency
from medseg.inference.engine import GPU_BATCH_VOXELS, Engine
from medseg.types import FloatArray

MOST_PATCHES = 16
"""Patches of a batch that an engine is built for; larger batches are cut."""

_DEVICE = torch.device("cuda")

CURE = "Install it on a machine with an NVIDIA GPU: pip install tensorrt."


def runtime_version() -> str:
    """Name and version of the installed runtime, and the name of the GPU.

    An engine is built for one version and one kind of GPU.

    Raises:
        MissingDependency: If TensorRT is not installed, or there is no GPU.
    """
    return f"tensorrt {_runtime().__version__}, {torch.cuda.get_device_name()}"


def build_plan(onnx_file: Path, patch: Sequence[int]) -> bytes:
    """Build an engine from an ONNX file, in the types that the file says.

    Args:
        onnx_file: A network with a batch of any size; INT8 as pairs of quantising and dequantising
            layers, symmetric and signed.
        patch: Channels and voxels of a patch, (C, *patch).

    Returns:
        TensorRT's own file, for this version and this kind of GPU.

    Raises:
        MissingDependency: If TensorRT is not installed, or there is no GPU.
        CorruptEngine: If TensorRT does not take the file.
    """
    trt = _runtime()
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx_file.read_bytes()):
        raise _refused(onnx_file, str(parser.get_error(0)))
    profile, name = builder.create_optimization_profile(), network.get_input(0).name
    shapes = [(batch, *patch) for batch in (1, 1, MOST_PATCHES)]
    profile.set_shape(name, *shapes)
    config = builder.create_builder_config()
    config.add_optimization_profile(profile)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _refused(onnx_file, "no engine was built")
    return bytes(plan)


class TensorRtEngine(Engine):
    """A TensorRT plan of one network.

    Args:
        path: The `.plan` file.
        precision: What it was built for, for the record.

    Raises:
        MissingDependency: If TensorRT is not installed, or there is no GPU.
        CorruptEngine: If it does not take the file.
    """

    name = "tensorrt"
    batch_voxels = GPU_BATCH_VOXELS

    def __init__(self, path: Path, *, precision: str) -> None:
        self.precision = precision
        trt = _runtime()
        runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise _refused(path, "it was built for another version or another GPU")
        self._context = self._engine.create_execution_context()
        self._given, self._found = (self._engine.get_tensor_name(n) for n in (0, 1))

    def run(self, batch: FloatArray) -> FloatArray:
        """Logits of a batch; see `Engine.run`."""
        cut = range(0, len(batch), MOST_PATCHES)
        return np.concatenate([self._run(batch[n : n + MOST_PATCHES]) for n in cut])

    def _run(self, batch: FloatArray) -> FloatArray:
        image = torch.from_numpy(np.ascontiguousarray(batch, np.float32)).to(_DEVICE)
        self._context.set_input_shape(self._given, tuple(image.shape))
        shape = tuple(self._context.get_tensor_shape(self._found))
        logits = torch.empty(shape, dtype=torch.float32, device=_DEVICE)
        self._context.set_tensor_address(self._given, image.data_ptr())
        self._context.set_tensor_address(self._found, logits.data_ptr())
        stream = torch.cuda.current_stream(_DEVICE)
        self._context.execute_async_v3(stream.cuda_stream)
        stream.synchronize()
        found: FloatArray = logits.cpu().numpy()
        return found


def int8_layers(path: Path) -> int:
    """How many layers of a plan compute in INT8, as TensorRT's own inspector says.

    Args:
        path: The `.plan` file.
    """
    trt = _runtime()
    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    inspector = engine.create_engine_inspector()
    facts = json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    layers = [layer for layer in facts["Layers"] if isinstance(layer, dict)]
    return sum(
        "conv" in layer.get("LayerType", "").lower() and "Int8" in str(layer.get("Inputs", ""))
        for layer in layers
    )


def _refused(path: Path, why: str) -> CorruptEngine:
    return CorruptEngine(
        f"TensorRT takes the file of an engine; it refuses {path}.",
        received=" ".join(why.split())[:200],
        cure="Export the bundle again on this machine.",
    )


def _runtime() -> Any:
    try:
        import tensorrt
    except ImportError as error:
        raise MissingDependency(
            "The engine tensorrt needs TensorRT.", received=str(error), cure=CURE
        ) from error
    if not torch.cuda.is_available():
        raise MissingDependency(
            "The engine tensorrt needs a GPU.", received="a torch that sees none", cure=CURE
        )
    return tensorrt
