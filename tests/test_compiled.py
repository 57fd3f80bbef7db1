import pickle
import subprocess
import sys

import numpy as np
import pytest
from numba.core import caching

from medseg.compiled import compiled, compiled_fast
from medseg.space.kernels import heaviest_class


def total(values):
    result = 0.0
    for value in values:
        result += value
    return result


@compiled
def doubled(value):
    """Twice as much."""
    return 2 * value


@compiled
def total_doubled(values):
    result = 0.0
    for value in values:
        result += doubled(value)
    return result


@pytest.mark.parametrize("how", [compiled, compiled_fast])
def test_a_loop_is_kept_on_disk_and_gives_the_same(how):
    loop = how(total)
    assert isinstance(loop.machine._cache, caching.FunctionCache)
    assert loop(np.arange(5.0)) == total(np.arange(5.0))
    assert loop.machine.signatures


@pytest.mark.parametrize("how", [compiled, compiled_fast])
def test_where_nothing_can_be_written_a_loop_still_runs(how, monkeypatch):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    loop = how(total)
    assert isinstance(loop.machine._cache, caching.NullCache)
    assert loop(np.arange(5.0)) == 10


def test_not_a_number_stays_one():
    assert np.isnan(compiled_fast(total)(np.array([1.0, np.nan])))


def test_a_loop_calls_another_one():
    assert total_doubled(np.arange(5.0)) == 20
    assert doubled.__doc__ == "Twice as much."


def test_a_loop_is_found_by_its_name_in_another_process():
    assert pickle.loads(pickle.dumps(heaviest_class)) is heaviest_class


def test_the_compiler_is_loaded_by_the_first_call():
    code = (
        "import sys, numpy as np\n"
        "from medseg.space.kernels import heaviest_class\n"
        "before = 'numba' in sys.modules\n"
        "heaviest_class(np.zeros((1, 1, 1, 1), np.uint8), np.zeros((1, 1, 1, 1), np.float32))\n"
        "print(before, 'numba' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "True"]
