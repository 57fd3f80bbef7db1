"""glibc's allocator, told to keep its memory: the cheapest speed-up on a CPU.

glibc asks the kernel for every block above 128 KiB and gives it back when it is freed. A network
allocates the same large blocks at every step, so each step pays for the page faults again.
Three calls of mallopt(3) end that: no mmap for large blocks, no trimming, and growth of the heap by
256 MiB at a time. What it costs: the memory of the largest moment stays with the process. Whoever
works on one case after the other gives it back in between where it is more than `KEPT_BYTES`, which
takes milliseconds. And a bound can be set that the kernel itself keeps.

Measured in bench/allocator.py and bench/volumes.py. Elsewhere (musl, macOS, Windows) nothing is
kept, nothing need be given back, and no bound is kept by the kernel.
"""

import contextlib
import ctypes
import platform
from collections.abc import Iterator
from functools import lru_cache

import psutil

from medseg.errors import MemoryTooSmall

KEPT_BYTES = 1 << 30
"""Of freed memory, at most, between one case and the next."""

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD_BYTES = 256 << 20
_BOUNDED_PAD_BYTES = 4 << 20
"""The heap of each thread grows by less where each byte counts."""

_REFUSALS = ("can't allocate memory", "out of memory", "bad_alloc", "start new thread")
_REFUSALS_OF_ONEDNN = ("could not create a primitive", "could not execute a primitive")
"""With nothing behind: what was asked for is known to be possible, and there was no room for it."""

LATER_BYTES = 96 << 20
"""Of a bound, left for libraries that are loaded later, the compiler of loops above all: the kernel
counts data only."""


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory. Call once, before torch allocates.

    Returns:
        Whether the allocator took all three settings; False off glibc.
    """
    return _settled([(_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, _TOP_PAD_BYTES)])


def release_freed_memory(*, above_bytes: int = 0) -> bool:
    """Give freed memory back to the kernel.

    Args:
        above_bytes: Only if this process holds more than so much in all, used or freed.

    Returns:
        Whether any was given back; False off glibc.
    """
    glibc = _glibc()
    if glibc is None or resident_bytes() <= above_bytes:
        return False
    return bool(glibc.malloc_trim(0))


def resident_bytes() -> int:
    """Memory of this process that lies in the machine's: used, kept, and files mapped into it."""
    return int(psutil.Process().memory_info().rss)


def room_bytes(most_bytes: int) -> int:
    """What this process may still take within a bound on its resident memory.

    Where the kernel keeps a bound on its data, that counts too: data that were asked for and never
    touched (stacks of threads, arenas of the heap) are part of it, and are not resident.

    Args:
        most_bytes: Resident memory of the process, libraries included.

    Returns:
        Bytes; below 0 if more is held already.
    """
    memory = psutil.Process().memory_info()
    room = most_bytes - LATER_BYTES - memory.rss
    if platform.system() == "Linux":
        import resource  # is not there on Windows

        allowed = resource.getrlimit(resource.RLIMIT_DATA)[0]
        if allowed != resource.RLIM_INFINITY:
            room = min(room, allowed - memory.data)
    return int(room)


@contextlib.contextmanager
def bounded_memory(most_bytes: int) -> Iterator[bool]:
    """In this block the process never holds more: the kernel refuses what would be too much.

    A refusal is a `MemoryError`, or torch's own error. Begin it when all libraries are loaded: the
    kernel counts what was asked for, and what they have asked for and not touched by then (buffers
    of OpenBLAS for each core, stacks of threads) is not held against the bound.

    Args:
        most_bytes: Resident memory of the process, libraries included.

    Yields:
        Whether the kernel keeps the bound; off Linux it does not.

    Raises:
        MemoryTooSmall: If the process holds more already.
    """
    memory = psutil.Process().memory_info()
    if memory.rss + LATER_BYTES > most_bytes:
        raise MemoryTooSmall(
            "Within its memory there must be room for the program and for a case.",
            received=f"{most_bytes / 2**20:.0f} MiB, of which the program and the networks take "
            f"{(memory.rss + LATER_BYTES) / 2**20:.0f}",
            cure="Give more with --memory.",
        )
    if platform.system() != "Linux":
        yield False
        return
    import resource  # is not there on Windows

    if _settled([(_M_TOP_PAD, _BOUNDED_PAD_BYTES)]):
        release_freed_memory()  # what the heap has grown by ahead of its use counts too
    before = resource.getrlimit(resource.RLIMIT_DATA)
    untouched = max(0, memory.data - (memory.rss - memory.shared))
    allowed = most_bytes - memory.shared - LATER_BYTES + untouched
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, before[1]))
    try:
        yield True
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was refused, on a CPU or a GPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and (
        any(words in said for words in _REFUSALS) or said.endswith(_REFUSALS_OF_ONEDNN)
    )


def _settled(settings: list[tuple[int, int]]) -> bool:
    glibc = _glibc()
    return glibc is not None and all(glibc.mallopt(*setting) == 1 for setting in settings)


@lru_cache(maxsize=1)
def _glibc() -> ctypes.CDLL | None:
    """The C library with the two calls that are needed; None where it is another one."""
    if platform.libc_ver()[0] != "glibc":
        return None
    library = ctypes.CDLL("libc.so.6")
    library.mallopt.argtypes, library.mallopt.restype = [ctypes.c_int] * 2, ctypes.c_int
    library.malloc_trim.argtypes, library.malloc_trim.restype = [ctypes.c_size_t], ctypes.c_int
    return library
