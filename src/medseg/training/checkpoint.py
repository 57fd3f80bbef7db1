"""Where a training stands, in one file that is whole or not there.

The tensors lie in the safetensors format and everything else as JSON in its header: no pickle, and
nothing that can belong to another moment than the weights beside it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from medseg.errors import CannotResume
from medseg.files import atomic_file

_RECORD = "medseg"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A training after so many steps.

    Attributes:
        step: Steps done.
        training_seconds: Time that these steps took.
        command_seconds: Time of the whole command until now.
        tensors: Weights, averaged weights and the optimizer's moments.
        facts: Everything else, ready for JSON.
    """

    step: int
    training_seconds: float
    command_seconds: float
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint over the last one; whoever is killed meanwhile leaves the last one.

    Raises:
        CannotWrite: If it cannot be written.
    """
    record = {
        "step": checkpoint.step,
        "training_seconds": checkpoint.training_seconds,
        "command_seconds": checkpoint.command_seconds,
        "facts": dict(checkpoint.facts),
    }
    tensors = {name: tensor.detach().cpu() for name, tensor in checkpoint.tensors.items()}
    content = save_tensors(tensors, metadata={_RECORD: json.dumps(record)})
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CannotResume: If there is none, or it is not one of ours.
    """
    if not path.is_file():
        raise CannotResume("A training goes on from its checkpoint.", received=f"no file {path}")
    try:
        with safe_open(path, framework="pt") as stream:
            record = json.loads((stream.metadata() or {})[_RECORD])
            tensors = {name: stream.get_tensor(name).clone() for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise CannotResume(
            f"The checkpoint {path} must be whole.",
            received=str(error),
            cure="Start anew in another folder.",
        ) from error
    return Checkpoint(
        step=record["step"],
        training_seconds=record["training_seconds"],
        command_seconds=record["command_seconds"],
        tensors=tensors,
        facts=record["facts"],
    )
