import platform
import subprocess
import sys

import pytest

from medseg.allocator import keep_freed_memory

# Page faults of ten allocations of 64 MB, with the allocator as it is or told to keep its memory.
COUNT = """
import resource, sys, numpy
from medseg.allocator import keep_freed_memory
if sys.argv[1] == "keep": keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10): numpy.ones(8_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_it_says_whether_it_could() -> None:
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_freed_memory_is_used_again() -> None:
    faults = [
        int(subprocess.check_output([sys.executable, "-c", COUNT, how]))
        for how in ("as-is", "keep")
    ]
    assert faults[1] < faults[0] / 3
