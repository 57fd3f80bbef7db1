import platform
import subprocess
import sys

import pytest

from medseg import allocator
from medseg.allocator import (
    bounded_memory,
    is_out_of_memory,
    keep_freed_memory,
    release_freed_memory,
    resident_bytes,
)
from medseg.errors import MemoryTooSmall

GLIBC = platform.libc_ver()[0] == "glibc"
needs_glibc = pytest.mark.skipif(not GLIBC, reason="only glibc has mallopt and malloc_trim")
needs_linux = pytest.mark.skipif(platform.system() != "Linux", reason="only Linux keeps a bound")

# Page faults of ten allocations of 64 MB, with the allocator as it is or told to keep its memory.
COUNT = """
import resource, sys, numpy
from medseg.allocator import keep_freed_memory
if sys.argv[1] == "keep": keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10): numpy.ones(8_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

# MB that are held after 400 MB were used and freed, kept, and given back.
HELD = """
import numpy
from medseg.allocator import keep_freed_memory, release_freed_memory, resident_bytes
keep_freed_memory()
before = resident_bytes()
blocks = [numpy.ones(1_250_000) for _ in range(40)]
last = numpy.ones(1000)
del blocks
kept = resident_bytes() - before
assert not release_freed_memory(above_bytes=1 << 40)
assert release_freed_memory(above_bytes=1 << 20)
print(kept // 10**6, (resident_bytes() - before) // 10**6)
"""

# Within 100 MB more than now: what fits is given, what does not is refused, and afterwards given.
BOUND = """
import numpy
from medseg.allocator import bounded_memory, resident_bytes
with bounded_memory(resident_bytes() + (300 << 20)) as kept:
    numpy.ones(10_000_000)
    try: numpy.ones(60_000_000)
    except MemoryError: print(kept)
numpy.ones(60_000_000)
"""


# Half a GB of address space, then a bound of less; and the room that is left, before and after.
UNTOUCHED = """
import numpy
from medseg.allocator import LATER_BYTES, bounded_memory, resident_bytes, room_bytes
space = numpy.empty(1 << 29, numpy.uint8)
most = resident_bytes() + LATER_BYTES + (200 << 20)
with bounded_memory(most):
    before = room_bytes(most)
    used = numpy.ones(100 << 20, numpy.uint8)
    print("within")
    after = room_bytes(most)
    try: numpy.ones(150 << 20, numpy.uint8)
    except MemoryError: print("refused")
print(abs(before - (200 << 20)) < 16 << 20, abs(before - after - (100 << 20)) < 16 << 20)
"""


def run(code: str, *words: str) -> str:
    return subprocess.check_output([sys.executable, "-c", code, *words], text=True)


def test_it_says_whether_it_could() -> None:
    assert keep_freed_memory() == GLIBC


@needs_glibc
def test_freed_memory_is_used_again() -> None:
    faults = [int(run(COUNT, how)) for how in ("as-is", "keep")]
    assert faults[1] < faults[0] / 3


@needs_glibc
def test_freed_memory_can_be_given_back() -> None:
    kept, left = map(int, run(HELD).split())
    assert kept > 300
    assert left < 50


def test_elsewhere_nothing_is_kept_and_nothing_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    allocator._glibc.cache_clear()
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    try:
        assert not keep_freed_memory()
        assert not release_freed_memory()
    finally:
        allocator._glibc.cache_clear()


@needs_linux
def test_the_kernel_keeps_a_bound() -> None:
    assert run(BOUND).strip() == "True"


def test_elsewhere_no_bound_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    with bounded_memory(resident_bytes() + (1 << 30)) as kept:
        assert not kept


@needs_linux
def test_what_was_asked_for_and_not_touched_is_not_held_against_a_bound() -> None:
    told = run(UNTOUCHED).split()
    assert told == ["within", "refused", "True", "True"]


def test_a_bound_below_what_is_held_is_refused() -> None:
    words = "1 MiB, of which the program and the networks take"
    with pytest.raises(MemoryTooSmall, match=words), bounded_memory(1 << 20):
        pass


def test_refused_memory_is_told_from_other_errors() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("std::bad_alloc"))
    assert is_out_of_memory(RuntimeError("could not create a primitive"))
    assert is_out_of_memory(RuntimeError("could not execute a primitive"))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for a GRU"))
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))
    assert not is_out_of_memory(ValueError("out of memory"))
