"""How loops are compiled: once for a machine, or once for a process where nothing is kept."""

from collections.abc import Callable
from typing import Any

from numba import njit

REORDERED = {"reassoc", "contract", "nsz", "arcp"}
"""Strict arithmetic but for the order and the fusing of sums: NaN and infinity stay."""


def compiled(loop: Callable[..., Any]) -> Any:
    """Compile a loop at its first call, without the interpreter lock, and keep it on disk.

    It is kept beside its file, or in the user's cache folder where the package may not be written.
    Where neither may (a read-only container), it is compiled again in each process.
    """
    return _compiled(loop, fastmath=False)


def compiled_fast(loop: Callable[..., Any]) -> Any:
    """As `compiled`, for sums whose order does not matter: `REORDERED`."""
    return _compiled(loop, fastmath=REORDERED)


def _compiled(loop: Callable[..., Any], *, fastmath: bool | set[str]) -> Any:
    try:
        machine = njit(cache=True, nogil=True, fastmath=fastmath)(loop)
    except RuntimeError:  # numba found no folder for its cache
        machine = njit(nogil=True, fastmath=fastmath)(loop)
    return machine
