"""What this machine has to compute with: a processor and its cores, perhaps a graphics card."""

import contextlib
import os
import platform
import sys
from functools import lru_cache
from pathlib import Path

import psutil

_CPUINFO = "/proc/cpuinfo"
"""Where Linux describes its processors; elsewhere little is known."""

_MATTERING = ("avx", "fma", "amx", "f16c", "sse4", "asimd", "sve", "bf16", "i8mm", "fp16")
"""Beginnings of the instructions that change which kernels a runtime takes."""

_CARDS = ("/dev/nvidiactl", "/dev/nvhost-ctrl", "/dev/kfd", "/dev/dxg")
"""What Linux shows of a card that torch may compute on: NVIDIA's, a Jetson's, AMD's, in WSL."""

_most_threads: int | None = None


def limit_threads(number: int) -> None:
    """Let networks outside torch take no more threads than this; torch has a number of its own."""
    global _most_threads
    _most_threads = max(1, number)


def threads() -> int:
    """Threads that a network may take: torch's number where torch is loaded, else what it is told.

    By itself that is one for each core that this process may use, and none for its second half
    where cores are shared by two.
    """
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = (allowed, psutil.cpu_count(logical=False), _most_threads)
    return min(limit for limit in limits if limit) if any(limits) else 1


def may_have_card() -> bool:
    """Whether it is worth the seconds to ask torch for a graphics card."""
    return platform.system() != "Linux" or any(Path(one).exists() for one in _CARDS)


def processor_name() -> str:
    """What the processor is called."""
    return _described().get("model name") or platform.processor() or platform.machine()


def instructions() -> tuple[str, ...]:
    """Vector and matrix instructions of the processor, sorted; at least its architecture."""
    described = _described()
    flags = (described.get("flags") or described.get("Features") or "").split()
    found = {flag for flag in flags if flag.startswith(_MATTERING)}
    return (platform.machine(), *sorted(found))


@lru_cache(maxsize=1)
def _described() -> dict[str, str]:
    """The first processor, as the kernel describes it."""
    facts: dict[str, str] = {}
    with contextlib.suppress(OSError), open(_CPUINFO, encoding="utf-8") as stream:  # noqa: PTH123
        for line in stream:
            key, _, value = line.partition(":")
            if not key.strip():
                break
            facts[key.strip()] = value.strip()
    return facts
