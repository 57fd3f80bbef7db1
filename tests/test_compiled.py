import numpy as np
import pytest
from numba.core import caching

from medseg.compiled import compiled, compiled_fast


def total(values):
    result = 0.0
    for value in values:
        result += value
    return result


@pytest.mark.parametrize("how", [compiled, compiled_fast])
def test_a_loop_is_kept_on_disk_and_gives_the_same(how):
    loop = how(total)
    assert isinstance(loop._cache, caching.FunctionCache)
    assert loop(np.arange(5.0)) == total(np.arange(5.0))


@pytest.mark.parametrize("how", [compiled, compiled_fast])
def test_where_nothing_can_be_written_a_loop_still_runs(how, monkeypatch):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    loop = how(total)
    assert isinstance(loop._cache, caching.NullCache)
    assert loop(np.arange(5.0)) == 10


def test_not_a_number_stays_one():
    assert np.isnan(compiled_fast(total)(np.array([1.0, np.nan])))
