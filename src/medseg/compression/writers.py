"""A graph becomes the files of a runtime, in the precision that was asked for."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.errors import NoEngine
from medseg.inference.exported import EngineKind, EnginePrecision
from medseg.inference.openvino_engine import REST, compiled, runtime_version

if TYPE_CHECKING:
    from onnx import ModelProto

_TURNS, _LEAST_GAIN = 4, 0.97
"""How often the two ways of what is not quantised take turns, and what bf16 must come down to."""

OFFERED: dict[EngineKind, tuple[EnginePrecision, ...]] = {
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "fp16", "bf16", "int8"),
    "tensorrt": ("fp32", "fp16", "int8"),
    "compiled": ("fp32",),
}
"""What each runtime is exported to. ONNX Runtime has no bf16 convolution on a CPU."""


def require_offered(kind: EngineKind, precision: EnginePrecision) -> None:
    """Pass if a runtime is exported to in a precision.

    Raises:
        NoEngine: If it is not.
    """
    if precision not in OFFERED[kind]:
        raise NoEngine(
            f"Engines of {kind} compute in {', '.join(OFFERED[kind])}.",
            received=precision,
            cure="Choose one of them with --precision, or another runtime with --to.",
        )


def write_network(
    model: "ModelProto",
    folder: Path,
    number: int,
    *,
    kind: EngineKind,
    precision: EnginePrecision,
    patch: Sequence[int],
) -> None:
    """Write the files of one network.

    Args:
        model: Its graph in float32; of INT8 the quantised one.
        folder: Where to.
        number: Which network, for the names of the files.
        kind: The runtime.
        precision: What it computes with.
        patch: Channels and voxels of a patch, (C, *patch): fixed, since runtimes are faster then.

    Raises:
        MissingDependency: If the runtime is not installed.
    """
    if kind == "openvino":
        _write_openvino(model, folder / f"{number}.xml", precision, patch)
        return
    if precision == "fp16":
        model = _half(model)
    path = folder / f"{number}.onnx"
    path.write_bytes(model.SerializeToString())
    if kind == "tensorrt":
        from medseg.inference.tensorrt_engine import build_plan

        (folder / f"{number}.plan").write_bytes(build_plan(path, patch))


def _half(model: "ModelProto") -> "ModelProto":
    """The graph in float16; what goes in and comes out stays float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copy = type(model)()
    copy.CopyFrom(model)
    converted: ModelProto = convert_float_to_float16(copy, keep_io_types=True)
    return converted


def _write_openvino(
    model: "ModelProto", path: Path, precision: EnginePrecision, patch: Sequence[int]
) -> None:
    """Write an OpenVINO model.

    The graph is read as it is: `openvino.convert_model` would do the same and tell its makers.
    """
    runtime_version()
    import openvino

    network = openvino.Core().read_model(model.SerializeToString(), b"")
    network.reshape([-1, *patch])
    if precision == "int8":
        join_pairs(network)
        network.set_rt_info(_faster_rest(network, patch), REST)
    openvino.save_model(network, str(path), compress_to_fp16=precision == "fp16")


def _faster_rest(network: Any, patch: Sequence[int]) -> str:
    """What layers that are not quantised compute in: "bf16" where that is faster by a little.

    Args:
        network: A quantised OpenVINO model.
        patch: Channels and voxels of a patch, (C, *patch).
    """
    given = np.random.default_rng(0).standard_normal((1, *patch), np.float32)
    requests = {}
    for rest in ("f32", "bf16"):
        network.set_rt_info(rest, REST)
        requests[rest] = compiled(network, "int8", 1).create_infer_request()
        requests[rest].infer([given])
    took: dict[str, list[float]] = {rest: [] for rest in requests}
    for _ in range(_TURNS):
        for rest, request in requests.items():
            begin = time.process_time()
            request.infer([given])
            took[rest].append(time.process_time() - begin)
    return "bf16" if min(took["bf16"]) < _LEAST_GAIN * min(took["f32"]) else "f32"


def join_pairs(network: Any) -> int:
    """Make one layer of each pair that quantises and dequantises, in place.

    OpenVINO reads a pair as several layers. If its integers are signed it then computes other
    results than torch and ONNX Runtime do; as one `FakeQuantize` it computes the same, and puts
    the layer into the one before it.

    Args:
        network: An OpenVINO model that was read from ONNX.

    Returns:
        How many pairs there were.
    """
    from openvino import opset13 as layers

    joined = 0
    for node in network.get_ordered_ops():
        if node.get_type_name() != "FakeQuantize":
            continue
        last = _end_of_pair(node)
        bounds = [node.input_value(n).get_node() for n in (1, 2)]
        if last is None or any(one.get_type_name() != "Constant" for one in bounds):
            continue
        low, high = (layers.constant(np.float32(one.data.item())) for one in bounds)
        whole = layers.fake_quantize(node.input_value(0), low, high, low, high, 256)
        for user in list(last.output(0).get_target_inputs()):
            user.replace_source_output(whole.output(0))
        joined += 1
    network.validate_nodes_and_infer_types()
    return joined


def _end_of_pair(node: Any) -> Any | None:
    """The multiplication by the scale that ends a pair; None if this is no pair."""
    while True:
        users = list(node.output(0).get_target_inputs())
        if len(users) != 1:
            return None
        node = users[0].get_node()
        if node.get_type_name() == "Multiply":
            return node
        if node.get_type_name() not in ("Convert", "Subtract"):
            return None
