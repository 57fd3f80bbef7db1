"""glibc's allocator, told to keep its memory: the cheapest speed-up on a CPU.

glibc asks the kernel for every block above 128 KiB and gives it back when it is freed. A network
allocates the same large blocks at every step, so each step pays for the page faults again.
Three calls of mallopt(3) end that: no mmap for large blocks, no trimming, and growth of the heap by
256 MiB at a time. The memory stays with the process until it ends, which is what training and
prediction want and a long-lived service must bound by its workers' life.

Measured in bench/allocator.py. Elsewhere (musl, macOS, Windows) this does nothing.
"""

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD_BYTES = 256 << 20


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory. Call once, before torch allocates.

    Returns:
        Whether the allocator took all three settings; False off glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL("libc.so.6").mallopt
    mallopt.argtypes, mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    settings = [(_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, _TOP_PAD_BYTES)]
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)
