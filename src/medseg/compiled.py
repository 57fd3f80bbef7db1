"""How loops are compiled: once for a machine, or once for a process where nothing is kept.

The compiler itself is loaded at the first call of a loop: half a second and 140 MB that nobody pays
who calls none (bench/startup.py).
"""

from collections.abc import Callable
from functools import cached_property, update_wrapper
from typing import Any

REORDERED = {"reassoc", "contract", "nsz", "arcp"}
"""Strict arithmetic but for the order and the fusing of sums: NaN and infinity stay."""


class Loop:
    """A loop that is compiled when it is first called, or when another one that calls it is.

    Args:
        loop: What to compile.
        fastmath: See numba.
    """

    def __init__(self, loop: Callable[..., Any], *, fastmath: bool | set[str]) -> None:
        self._loop, self._fastmath = loop, fastmath
        update_wrapper(self, loop)

    @cached_property
    def machine(self) -> Any:
        """Numba's dispatcher."""
        from numba import njit  # slow to load

        try:
            return njit(cache=True, nogil=True, fastmath=self._fastmath)(self._loop)
        except RuntimeError:  # numba found no folder for its cache
            return njit(nogil=True, fastmath=self._fastmath)(self._loop)

    @property
    def _numba_type_(self) -> Any:
        """What numba asks for when another loop calls this one."""
        return self.machine._numba_type_

    def __call__(self, *args: Any, **words: Any) -> Any:
        """Run it."""
        return self.machine(*args, **words)

    def __reduce__(self) -> str:
        """It is found by its name again."""
        return self._loop.__qualname__


def compiled(loop: Callable[..., Any]) -> Any:
    """Compile a loop at its first call, without the interpreter lock, and keep it on disk.

    It is kept beside its file, or in the user's cache folder where the package may not be written.
    Where neither may (a read-only container), it is compiled again in each process.
    """
    return Loop(loop, fastmath=False)


def compiled_fast(loop: Callable[..., Any]) -> Any:
    """As `compiled`, for sums whose order does not matter: `REORDERED`."""
    return Loop(loop, fastmath=REORDERED)
