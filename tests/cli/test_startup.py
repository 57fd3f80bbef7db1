import gc

import pytest

from medseg.cli.startup import loading


@pytest.fixture(autouse=True)
def as_before():
    was = gc.isenabled()
    yield
    gc.unfreeze()
    (gc.enable if was else gc.disable)()


def test_the_collector_rests_inside_and_works_again_afterwards():
    gc.enable()
    with loading():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_it_works_again_after_a_failure():
    gc.enable()
    with pytest.raises(ImportError, match="nowhere"), loading():
        raise ImportError("nowhere")
    assert gc.isenabled()


def test_one_that_rested_before_goes_on_resting():
    gc.disable()
    with loading():
        pass
    assert not gc.isenabled()
