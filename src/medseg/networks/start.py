"""A network that starts from the weights of another of its kind."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from medseg.errors import BundleError
from medseg.networks.build import build
from medseg.networks.mednext import MedNeXt, can_grow, upkern
from medseg.networks.network import Network
from medseg.specs import NetworkSpec


@dataclass(frozen=True, eq=False)
class Start:
    """Weights that a network of the same kind starts from.

    What depends on the number of classes (heads) is left as it was drawn where that number, or
    whether there is such a head, differs. Depthwise kernels of a MedNeXt grow to larger ones
    (`upkern`). All else must have one shape.

    Attributes:
        spec: Settings of the network that the weights belong to.
        weights: Its state.
    """

    spec: NetworkSpec
    weights: Mapping[str, Tensor]

    def fill(self, network: Network, spec: NetworkSpec) -> tuple[str, ...]:
        """Replace the weights of a network.

        Args:
            network: It is changed.
            spec: Its settings.

        Returns:
            Names of the tensors that were left as they were.

        Raises:
            BundleError: If the two do not fit; see `fresh_tensors`.
        """
        fresh, own = fresh_tensors(spec, self.spec), network.state_dict()
        state = {name: own[name] if name in fresh else self.weights[name] for name in own}
        if isinstance(network, MedNeXt):
            upkern(network, state)
        else:
            network.load_state_dict(state)
        return fresh


def fresh_tensors(spec: NetworkSpec, start: NetworkSpec) -> tuple[str, ...]:
    """What a network cannot take from another of its kind: heads of another number of classes.

    Args:
        spec: Settings of the network that is to start.
        start: Settings of the one that it starts from.

    Returns:
        Names of these tensors; none if everything is taken.

    Raises:
        BundleError: If the kinds differ, or something else than heads has another shape.
    """
    if spec.kind != start.kind:
        raise BundleError(
            "A network starts from one of its own kind.",
            received=f"a bundle of {start.kind} for a network of {spec.kind}",
            cure=f"Train with --arch {start.kind}, or start from another bundle.",
        )
    ours, theirs = _state(spec), _state(start)
    heads, their_heads = _heads(spec, ours), _heads(start, theirs)
    fresh = tuple(name for name in ours if name in heads and not _same(name, ours, theirs))
    faults = [
        name
        for name in ours
        if name not in heads
        and not _same(name, ours, theirs)
        and not (spec.kind == "mednext" and name in theirs and can_grow(theirs[name], ours[name]))
    ]
    faults += [name for name in theirs if name not in ours and name not in their_heads]
    if faults:
        raise BundleError(
            "A network starts from one of the same channels, stages, widths and kernels; heads may "
            "differ, and kernels of mednext may be smaller there.",
            received=f"{len(faults)} tensors that do not fit, the first of them "
            f"{_words(faults[0], ours, theirs)}",
            cure='Give a --plan whose "network" is that of the bundle\'s bundle.json, or leave '
            "--start-from out.",
        )
    return fresh


def _state(spec: NetworkSpec) -> dict[str, Tensor]:
    """Names and shapes of everything a network holds; no memory is filled."""
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        return dict(build(spec).state_dict())


def _heads(spec: NetworkSpec, state: Mapping[str, Tensor]) -> set[str]:
    """Tensors whose shape depends on the number of classes."""
    other = _state(spec.model_copy(update={"classes": spec.classes + 1}))
    return {name for name in state if state[name].shape != other[name].shape}


def _same(name: str, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    return name in theirs and ours[name].shape == theirs[name].shape


def _words(name: str, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str:
    """A tensor and its shape on both sides, as "stem.weight: (8, 1, 3, 3) there, none here"."""
    there, here = (
        str(tuple(state[name].shape)) if name in state else "none" for state in (theirs, ours)
    )
    return f"{name}: {there} there, {here} here"
