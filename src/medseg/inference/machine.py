"""What this machine's processor is called, and which instructions it has."""

import contextlib
import platform
from functools import lru_cache

_CPUINFO = "/proc/cpuinfo"
"""Where Linux describes its processors; elsewhere little is known."""

_MATTERING = ("avx", "fma", "amx", "f16c", "sse4", "asimd", "sve", "bf16", "i8mm", "fp16")
"""Beginnings of the instructions that change which kernels a runtime takes."""


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
