"""INT8 written into an ONNX graph, as pairs of quantising and dequantising layers (QDQ).

Weights become integers with a scale for each output channel; a pair of layers stands where a
convolution is given something. Runtimes read such pairs as the wish to compute in INT8:

* OpenVINO and TensorRT need the pairs in front of convolutions only, and TensorRT symmetric ones.
* ONNX Runtime computes a convolution in INT8 only if what it gives is quantised too.

What is concatenated is quantised before it is, with one grid, so that INT8 is concatenated.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.compression.fake import LayerGrids
from medseg.compression.grids import WEIGHT_LIMIT, Grid
from medseg.inference.exported import EngineKind
from medseg.types import AnyArray

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_CONVOLUTIONS = ("Conv", "ConvTranspose")


def convolution_nodes(model: "ModelProto") -> dict[str, "NodeProto"]:
    """The convolutions of a graph by the names of their modules, in the order they run.

    Only those whose weights still have their name, and are used once.
    """
    weights = {one.name for one in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in _CONVOLUTIONS]
    uses = [node.input[1] for node in nodes]
    return {
        node.input[1].removesuffix(".weight"): node
        for node in nodes
        if node.input[1] in weights
        and node.input[1].endswith(".weight")
        and uses.count(node.input[1]) == 1
    }


def shared_inputs(model: "ModelProto") -> tuple[frozenset[str], ...]:
    """Which convolutions must be given numbers of one grid.

    Those that are given the same tensor, or one that is concatenated for another of them.

    Returns:
        Sets of names of modules; each convolution is in one.
    """
    nodes = convolution_nodes(model)
    makers = _makers(model)
    groups: list[tuple[set[str], set[str]]] = []
    for name, node in nodes.items():
        names, tensors = {name}, {node.input[0], *_concatenated(node.input[0], makers)}
        for group in [one for one in groups if one[1] & tensors]:
            names |= group[0]
            tensors |= group[1]
            groups.remove(group)
        groups.append((names, tensors))
    return tuple(frozenset(names) for names, _ in groups)


def barred(model: "ModelProto", target: EngineKind) -> dict[str, str]:
    """Convolutions that a runtime would compute wrongly in INT8, each with the reason.

    OpenVINO (2026.4, CPU, batches of any size) multiplies a quantised transposed convolution by
    its scale twice where what it gives is used more than once and one use is an addition.
    """
    if target != "openvino":
        return {}
    users: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for tensor in node.input:
            users.setdefault(tensor, []).append(node)
    return {
        name: "OpenVINO scales it twice: what it gives is added, and used elsewhere too"
        for name, node in convolution_nodes(model).items()
        if node.op_type == "ConvTranspose"
        and len(uses := users.get(node.output[0], [])) > 1
        and any(user.op_type == "Add" for user in uses)
    }


def quantised(model: "ModelProto", grids: Mapping[str, LayerGrids]) -> "ModelProto":
    """A graph with INT8 convolutions.

    Args:
        model: The graph in float; it is left as it is.
        grids: Those of each convolution that is quantised, by the name of its module.

    Returns:
        A new graph. Its inputs and outputs stay float.

    Raises:
        KeyError: If the graph has no such convolution.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    writer = _Writer(copy)
    nodes = convolution_nodes(copy)
    for name, of_layer in grids.items():
        node = nodes[name]
        writer.quantise_weight(node)
        writer.quantise_input(node, of_layer.given)
        if of_layer.gives is not None:
            writer.quantise_output(node, of_layer.gives)
    writer.finish()
    onnx.checker.check_model(copy)
    return copy


class _Writer:
    """Puts pairs into one graph, and each of them once.

    Args:
        model: It is changed.
    """

    def __init__(self, model: "ModelProto") -> None:
        self._graph = model.graph
        self._makers = _makers(model)
        self._weights = {one.name: one for one in model.graph.initializer}
        self._users: dict[str, list[NodeProto]] = {}
        for node in model.graph.node:
            for tensor in node.input:
                self._users.setdefault(tensor, []).append(node)
        self._outputs = {one.name for one in model.graph.output}
        self._pairs: dict[tuple[str, Grid], str] = {}
        self._after: dict[str, list[NodeProto]] = {}
        self._first: list[NodeProto] = []

    def quantise_weight(self, node: "NodeProto") -> None:
        """Integers in the place of a convolution's weights."""
        from onnx import helper, numpy_helper

        name = node.input[1]
        weight = numpy_helper.to_array(self._weights[name]).astype(np.float32)
        axis = 0 if node.op_type == "Conv" else 1
        others = tuple(n for n in range(weight.ndim) if n != axis)
        scales = np.maximum(np.abs(weight).max(axis=others), np.float32(1e-12)) / np.float32(
            WEIGHT_LIMIT
        )
        spread = scales.reshape([-1 if n == axis else 1 for n in range(weight.ndim)])
        integers = np.clip(np.rint(weight / spread), -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int8)
        self._graph.initializer.remove(self._weights[name])
        constants = (integers, scales.astype(np.float32), np.zeros(len(scales), np.int8))
        inputs = self._constants(f"{name}/int8", constants)
        node.input[1] = f"{name}/dequantised"
        self._first.append(helper.make_node("DequantizeLinear", inputs, [node.input[1]], axis=axis))

    def quantise_input(self, node: "NodeProto", grid: Grid) -> None:
        """A pair in front of a convolution, or of what is concatenated for it."""
        tensor = node.input[0]
        if tensor in self._makers and self._is_only_quantised(tensor):
            maker = self._makers[tensor]
            for n, part in enumerate(list(maker.input)):
                if not part.endswith("/dequantised"):
                    maker.input[n] = self._pair(part, grid)
            return
        node.input[0] = self._pair(tensor, grid)

    def quantise_output(self, node: "NodeProto", grid: Grid) -> None:
        """A pair behind a convolution."""
        tensor = node.output[0]
        if tensor in self._outputs:
            return
        pair = self._pair(tensor, grid)
        for user in self._users.get(tensor, []):
            for n, given in enumerate(user.input):
                if given == tensor:
                    user.input[n] = pair

    def finish(self) -> None:
        """Bring all layers into an order in which they can run."""
        pending = [
            *self._first,
            *self._graph.node,
            *(n for some in self._after.values() for n in some),
        ]
        known = {one.name for one in self._graph.initializer} | {
            one.name for one in self._graph.input
        } | {""}  # fmt: skip
        waiting: dict[str, list[NodeProto]] = {}
        missing = {id(node): len({*node.input} - known) for node in pending}
        for node in pending:
            for tensor in {*node.input} - known:
                waiting.setdefault(tensor, []).append(node)
        ready, ordered = [node for node in pending if not missing[id(node)]], []
        while ready:
            node = ready.pop(0)
            ordered.append(node)
            for tensor in node.output:
                for user in waiting.pop(tensor, []):
                    missing[id(user)] -= 1
                    if not missing[id(user)]:
                        ready.append(user)
        nodes = [_copied(node) for node in ordered]
        del self._graph.node[:]
        self._graph.node.extend(nodes)

    def _is_only_quantised(self, tensor: str) -> bool:
        """Whether a tensor is concatenated for convolutions and nothing else."""
        is_joined = self._makers[tensor].op_type == "Concat"
        users = self._users.get(tensor, [])
        return is_joined and all(
            user.op_type in _CONVOLUTIONS and user.input[0] == tensor for user in users
        )

    def _pair(self, tensor: str, grid: Grid) -> str:
        """The name of a tensor after it was on a grid."""
        from onnx import helper

        key = (tensor, grid)
        if key not in self._pairs:
            stem = f"{tensor}/{len(self._pairs)}"
            zero = np.array(grid.zero, np.int8 if grid.is_signed else np.uint8)
            facts = self._constants(stem, (np.array(grid.scale, np.float32), zero))
            integers, self._pairs[key] = f"{stem}/quantised", f"{stem}/dequantised"
            self._after.setdefault(tensor, []).extend(
                (
                    helper.make_node("QuantizeLinear", [tensor, *facts], [integers]),
                    helper.make_node("DequantizeLinear", [integers, *facts], [self._pairs[key]]),
                )
            )
        return self._pairs[key]

    def _constants(self, stem: str, arrays: Iterable[AnyArray]) -> list[str]:
        from onnx import numpy_helper

        names = []
        for n, array in enumerate(arrays):
            names.append(f"{stem}/{n}")
            self._graph.initializer.append(numpy_helper.from_array(array, names[-1]))
        return names


def _copied(node: "NodeProto") -> "NodeProto":
    import onnx

    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def _makers(model: "ModelProto") -> dict[str, Any]:
    return {tensor: node for node in model.graph.node for tensor in node.output}


def _concatenated(tensor: str, makers: Mapping[str, Any]) -> Sequence[str]:
    """What a tensor was concatenated from, if it was."""
    node = makers.get(tensor)
    return list(node.input) if node is not None and node.op_type == "Concat" else []
