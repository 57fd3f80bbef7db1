"""The laws that every map of names keeps."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from medseg.weights.convert import shapes_of
from medseg.weights.names import NameMap


def assert_one_to_one(state: dict[str, Tensor], spec: Any, names: NameMap) -> None:
    """Each tensor is one of ours or stated to be dead, and each of ours has exactly one."""
    ours = shapes_of(spec)
    found = names.names(ours)
    alive = {name for name in state if not names.is_dead(name)}
    assert set(found.values()) == alive
    absent = {name for name in ours if name not in found}
    assert all(name.split(".")[0] in names.absent or _lies(name, names) for name in absent)


def _lies(name: str, names: NameMap) -> bool:
    return any(name.startswith(f"{module}.") for module in names.absent)


def assert_no_module_can_be_left_out(spec: Any, names: NameMap) -> None:
    """A map without one of its entries, or with one twice, is refused."""
    ours = list(shapes_of(spec))
    modules = dict(names.modules)
    first, second = _alike(ours, modules)
    without = NameMap({name: there for name, there in modules.items() if name != first})
    with pytest.raises(ValueError, match="has no name there"):
        without.names(ours)
    with pytest.raises(ValueError, match="share a name"):
        NameMap(modules | {first: modules[second]}, absent=names.absent).names(ours)
    with pytest.raises(ValueError, match="there are no"):
        NameMap(modules | {"nothing": "of ours"}, absent=names.absent).names(ours)


def assert_swapped_weights_compute_otherwise(
    state: dict[str, Tensor], one: str, other: str, forward: Callable[[dict[str, Tensor]], Tensor]
) -> None:
    """The comparison of outputs sees two tensors of one shape that changed places."""
    assert state[one].shape == state[other].shape
    swapped = forward(state | {one: state[other], other: state[one]})
    assert (swapped - forward(state)).abs().max() > 1e-3


def _alike(ours: list[str], modules: dict[str, str]) -> tuple[str, str]:
    """Two modules whose tensors have the same names."""
    inside = {
        module: frozenset(x.removeprefix(module) for x in ours if x.startswith(f"{module}."))
        for module in modules
    }
    for first, leaves in inside.items():
        for second, others in inside.items():
            if first != second and leaves == others and leaves:
                return first, second
    raise AssertionError("no two modules are alike")
