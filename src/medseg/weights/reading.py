"""Checkpoint files of other programs, read without running anything that lies in them."""

import codecs
import errno
import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from medseg.errors import MissingPath, UnreadableFile, WrongCheckpoint

CONTAINERS = ("network_weights", "state_dict", "model_state_dict", "model", "net", "network")
"""Where programs put the tensors beside the state of the optimizer."""

_WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""What parallel and compiled networks, and Lightning's modules, put before every name."""

_DAMAGE: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What the readers of torch and numpy raise on bytes that were cut off or changed."""

_FOREIGN = ("GLOBAL", "Unsupported class")
"""What torch says where a pickle asks for code that is not allowed."""

_SCALAR, _ARRAY = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
"""What numpy's pickles call to make a number and an array; releases differ in where it lies."""

_NUMPY: list[Any] = [
    np.dtype,
    np.ndarray,
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?")),
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((_ARRAY, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    (codecs.encode, "_codecs.encode"),
]
"""Plain numbers and arrays of numpy, which nnU-Net keeps beside the weights."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What lies in a checkpoint.

    Attributes:
        path: Where it was read.
        tensors: By name, without what a wrapper put before every name.
        facts: What lies beside the tensors.
        container: Which of `CONTAINERS` holds the tensors; empty where they lie alone.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)
    container: str = ""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read `.pt`, `.pth` and whatever else torch wrote, `.safetensors`, or numpy's `.npz`.

    Nothing that lies in the file is run: of a pickle, tensors, plain values and numpy's numbers are
    read, and all else is refused.

    Raises:
        MissingPath: If there is no such file.
        UnreadableFile: If it is truncated or damaged.
        WrongCheckpoint: If it holds anything but tensors and plain values, or no tensors.
    """
    if not path.is_file():
        raise MissingPath(
            "A checkpoint is a file.", received=f"{path}, which is none", cure="Check the path."
        )
    match path.suffix:
        case ".safetensors":
            content: Any = _safetensors(path)
        case ".npz":
            content = _npz(path)
        case _:
            content = _torch(path)
    container = _container(content)
    tensors = _tensors_of(content[container] if container else content)
    facts = {str(key): content[key] for key in content if key != container} if container else {}
    if not tensors:
        raise WrongCheckpoint(
            "A checkpoint holds a network's tensors by their names.",
            received=f"{path.name} without any",
            cure=f"Save model.state_dict(), alone or as one of {', '.join(CONTAINERS)}.",
        )
    return Checkpoint(path, _unwrapped(tensors), facts, container)


def _torch(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_NUMPY), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not any(word in str(error) for word in _FOREIGN):
            raise _damaged(path, error) from error
        raise WrongCheckpoint(
            "A checkpoint is read without running what lies in it: tensors and plain values only.",
            received=f"{path.name}, which holds objects of a program",
            cure="Where its program is installed: torch.save(model.state_dict(), 'weights.pth').",
        ) from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise _damaged(path, error) from error
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_tensors(path.read_bytes())
    except SafetensorError as error:
        raise _damaged(path, error) from error


def _npz(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: torch.from_numpy(archive[name].copy()) for name in archive.files}
    except OSError as error:
        raise _damaged(path, error) from error
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _container(content: Any) -> str:
    """Which key holds the tensors; empty where they lie alone, or nowhere."""
    if isinstance(content, Mapping):
        for name in CONTAINERS:
            if _tensors_of(content.get(name)):
                return name
    return ""


def _tensors_of(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without what every name begins with, if that is the word of a wrapper."""
    for wrapper in _WRAPPERS:
        if all(name.startswith(wrapper) for name in tensors):
            return _unwrapped({name[len(wrapper) :]: tensors[name] for name in tensors})
    return tensors


def _damaged(path: Path, error: Exception) -> UnreadableFile:
    if path.stat().st_size == 0:
        received = "an empty file"
    elif isinstance(error, pickle.UnpicklingError):
        received = "bytes that break off, or were never written by torch"
    else:
        first, *_ = " ".join(str(error).split()).split(". ")
        received = first[:160] or type(error).__name__
    return UnreadableFile(
        f"{path.name} is a whole checkpoint of torch, safetensors or numpy.",
        received=received,
        cure="Copy or download it again.",
    )
