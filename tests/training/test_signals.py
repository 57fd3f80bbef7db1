import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from medseg.training.signals import listening


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_ends(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with listening() as request:
        assert not request
        signal.raise_signal(number)
        assert request
        assert request.by == number.name
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_other_threads_hear_nothing_and_do_not_fail() -> None:
    def listen() -> bool:
        with listening() as request:
            return bool(request)

    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(listen).result()
