"""Being asked to stop, without being cut off in the middle of a step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether somebody asked to stop.

    Attributes:
        by: Name of the signal, "" as long as nobody asked.
    """

    def __init__(self) -> None:
        self.by = ""

    def __bool__(self) -> bool:
        return bool(self.by)


@contextmanager
def listening() -> Iterator[StopRequest]:
    """Note Ctrl-C (SIGINT) and SIGTERM for as long as the block runs; a second one ends at once.

    Outside the main thread signals cannot be caught, and nobody is heard.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, _frame: FrameType | None) -> None:
        if request:
            raise KeyboardInterrupt
        request.by = signal.Signals(number).name

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
