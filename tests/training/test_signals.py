import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from medseg.training.signals import listening

SCRIPT = """
import signal, sys
from medseg.training.signals import listening

number = signal.Signals(int(sys.argv[1]))
before = signal.getsignal(number)
with listening() as request:
    assert not request
    signal.raise_signal(number)
    assert request
    assert request.by == number.name
    try:
        signal.raise_signal(number)
    except KeyboardInterrupt:
        print("ended")
assert signal.getsignal(number) is before
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_ends(number: signal.Signals) -> None:
    """In a process of its own: libraries that other tests load may have a say in signals."""
    words = [sys.executable, "-c", SCRIPT, str(int(number))]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "ended\n"), run.stderr


def test_other_threads_hear_nothing_and_do_not_fail() -> None:
    def listen() -> bool:
        with listening() as request:
            return bool(request)

    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(listen).result()
