"""Names of other programs' weights, and how they become ours: one to one, or it is said why not."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from medseg.errors import WrongCheckpoint

State = Mapping[str, Tensor]
"""Tensors by the names that their program gave them."""

Layout = Callable[[Tensor], Tensor]
"""From the layout of their tensor to that of ours."""

COUNTER = "num_batches_tracked"
"""A count of batch normalisation that no prediction reads; old checkpoints lack it."""


@dataclass(frozen=True)
class NameMap:
    """Whose weight is which of ours.

    Attributes:
        modules: Name of one of our modules or tensors -> theirs. What lies inside a module has the
            same names on both sides; where several of ours fit a tensor, the longest counts.
        absent: Our modules that they do not have.
        dead: Patterns of names that carry no weight of the network: copies, indices, and parameters
            that the published code never uses.
        layouts: Patterns of their names -> how such a tensor is laid out as ours.
    """

    modules: Mapping[str, str]
    absent: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()
    layouts: Mapping[str, Layout] = field(default_factory=dict)

    def names(self, ours: Iterable[str]) -> dict[str, str]:
        """Each of our names that they have -> theirs.

        Args:
            ours: All names of our network.

        Raises:
            ValueError: If the map is not one to one on them: one of ours has no name there, a
                module names nothing of ours, or two of ours share a tensor.
        """
        ours = list(ours)
        found: dict[str, str] = {}
        for name in ours:
            home = self._home(name)
            if home is not None:
                found[name] = f"{self.modules[home]}{name[len(home) :]}".lstrip(".")
            elif not any(_lies_in(name, module) for module in self.absent):
                raise ValueError(f"{name} has no name there")
        unused = set(self.modules) - {self._home(name) for name in ours}
        if unused:
            raise ValueError(f"there are no {sorted(unused)}")
        if len(set(found.values())) < len(found):
            raise ValueError("two weights share a name there")
        return found

    def is_dead(self, name: str) -> bool:
        """Whether a tensor of theirs carries no weight of the network."""
        return any(re.search(pattern, name) for pattern in self.dead)

    def laid_out(self, name: str, tensor: Tensor) -> Tensor:
        """A tensor of theirs as ours lies."""
        for pattern, layout in self.layouts.items():
            if re.search(pattern, name):
                return layout(tensor)
        return tensor

    def _home(self, name: str) -> str | None:
        """The longest of our modules that a tensor lies in."""
        parts = name.split(".")
        prefixes = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
        return next((prefix for prefix in prefixes if prefix in self.modules), None)


@dataclass(frozen=True, eq=False)
class Filled:
    """What a checkpoint gave.

    Attributes:
        weights: Our names and tensors.
        missing: Ours that nothing was found for.
        homeless: Theirs that have no home in our network, and are not known to be dead.
        dead: Theirs that are known to carry no weight of the network.
    """

    weights: Mapping[str, Tensor]
    missing: tuple[str, ...]
    homeless: tuple[str, ...]
    dead: tuple[str, ...]


def fill(
    state: State, names: NameMap, shapes: Mapping[str, Tensor], *, origin: str, skip: Iterable[str]
) -> Filled:
    """Give each of our weights the tensor that has its name.

    Args:
        state: Theirs.
        names: Whose is which.
        shapes: Ours, in the shapes and types that they must have.
        origin: Whose names these are, for the message.
        skip: Ours that are left out, as if they had no tensor.

    Raises:
        WrongCheckpoint: If a tensor has another shape, or holds what is no finite number.
    """
    known, left_out = names.names(shapes), set(skip)
    weights: dict[str, Tensor] = {}
    for ours, theirs in known.items():
        if theirs in state and ours not in left_out:
            tensor = names.laid_out(theirs, state[theirs])
            _require_fit(tensor, shapes[ours], theirs, origin)
            weights[ours] = tensor.detach().to(shapes[ours].dtype).contiguous().clone()
        elif ours.endswith(COUNTER):
            weights[ours] = shapes[ours].new_zeros((), device="cpu")
    rest = [name for name in state if name not in known.values()]
    return Filled(
        weights=weights,
        missing=tuple(name for name in shapes if name not in weights),
        homeless=tuple(name for name in rest if not names.is_dead(name)),
        dead=tuple(name for name in rest if names.is_dead(name)),
    )


def numbered(state: State, pattern: str) -> int:
    """How many there are: one more than the largest number that a pattern's group finds."""
    numbers = [int(found[1]) for name in state if (found := re.match(pattern, name))]
    return max(numbers, default=-1) + 1


def shape_of(state: State, name: str, origin: str) -> tuple[int, ...]:
    """Shape of a tensor that every checkpoint of an origin has.

    Raises:
        WrongCheckpoint: If it is not there.
    """
    if name not in state:
        raise WrongCheckpoint(
            f"Weights with the names of {origin} hold {name}.",
            received=f"{len(state)} tensors without it",
            cure="Give a state dict of the whole network.",
        )
    return tuple(state[name].shape)


def _require_fit(tensor: Tensor, ours: Tensor, theirs: str, origin: str) -> None:
    if tensor.shape != ours.shape:
        raise WrongCheckpoint(
            f"Weights of {origin} have the shapes of its published network.",
            received=f"{theirs} of shape {tuple(tensor.shape)} where {tuple(ours.shape)} fits",
            cure="Only the published network can be converted, not a variant of it.",
        )
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        raise WrongCheckpoint(
            "Weights are finite numbers.",
            received=f"others in {theirs}",
            cure="Take a checkpoint of an earlier epoch.",
        )


def _lies_in(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")
