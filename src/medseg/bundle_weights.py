"""The weights of a bundle, read and checked without torch: it is loaded once they are used."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays

from medseg.bundle_file import BundleFile, WeightsDtype
from medseg.bundle_folder import DESCRIPTION_FILE, corrupt_bundle
from medseg.types import AnyArray

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS_FILE = "weights.safetensors"


class StoredWeights(Mapping[str, "Tensor"]):
    """The state of a network as it lies on the disk.

    Each look at a tensor makes a new one, in float32 where it holds real numbers: it may be
    changed, and the bundle stays as it is.

    Args:
        arrays: Its tensors by name, in the numbers of the file.
    """

    def __init__(self, arrays: Mapping[str, AnyArray]) -> None:
        self._arrays = arrays

    def __getitem__(self, name: str) -> "Tensor":
        """A tensor on the CPU."""
        import torch  # slow to load

        array = self._arrays[name]
        return torch.from_numpy(np.array(array, np.float32 if array.dtype.kind == "f" else None))

    def __iter__(self) -> Iterator[str]:
        """Names of its tensors."""
        return iter(self._arrays)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._arrays)


def packed(members: "Sequence[Mapping[str, Tensor]]", dtype: WeightsDtype) -> bytes:
    """The content of a file of weights.

    Args:
        members: The state of each network.
        dtype: How real numbers lie in it.
    """
    import torch  # slow to load
    from safetensors.torch import save as save_tensors

    kind = getattr(torch, dtype)

    def stored(tensor: "Tensor") -> "Tensor":
        kept = tensor.detach().cpu()
        return (kept.to(kind) if kept.is_floating_point() else kept).contiguous().clone()

    return save_tensors(
        {
            f"{n}.{name}": stored(tensor)
            for n, member in enumerate(members)
            for name, tensor in member.items()
        }
    )


def read_weights(
    folder: Path, description: BundleFile, count: int
) -> tuple[Mapping[str, "Tensor"], ...]:
    """The state of each network of a bundle.

    Args:
        folder: The bundle's.
        description: What is said about the weights there.
        count: How many networks there are.

    Raises:
        CorruptBundle: If the file is not the one that was described, belongs to other networks, or
            holds a number that is not finite.
    """
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise corrupt_bundle(folder, f"no {WEIGHTS_FILE}")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != description.weights_sha256:
        raise corrupt_bundle(
            folder, f"{WEIGHTS_FILE} with another SHA-256 than {DESCRIPTION_FILE} says"
        )
    try:
        arrays = load_arrays(content)
    except (SafetensorError, KeyError) as error:
        raise corrupt_bundle(folder, str(error)) from error
    members: dict[str, dict[str, AnyArray]] = {str(n): {} for n in range(count)}
    for key in sorted(arrays):
        n, _, name = key.partition(".")
        if n not in members:
            raise corrupt_bundle(folder, f"weights {key!r} of none of its {count} networks")
        if not np.isfinite(arrays[key]).all():
            raise corrupt_bundle(folder, f"weights {key!r} that are no finite numbers")
        members[n][name] = arrays[key]
    return tuple(StoredWeights(member) for member in members.values())
