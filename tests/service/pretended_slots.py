"""Worker slots in processes of their own, whose child only pretends to segment."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.service.service import Service

_SLOT = """
import sys, time
from functools import partial
from pathlib import Path
from medseg.service import worker
from medseg.service.attempt import SlotEnds
from medseg.service.settings import Limits

class Pretended:
    def __init__(self, memory_bytes, bundle):
        self.is_closed = False
    def start(self):
        pass
    def ask(self, stage, work, **words):
        while stage == "segment" and sys.argv[4] == "hangs":
            if self.is_closed:
                raise SlotEnds
            time.sleep(0.02)
        Path(work["out"]).mkdir(exist_ok=True)
        return {"size_bytes": 0}
    def close(self):
        self.is_closed = True

worker.Child, worker.BEAT_SECONDS = Pretended, 0.1
worker.take_lost = partial(worker.take_lost, lost_seconds=2.0)
url, data, slot = sys.argv[1:4]
worker.run_worker(url, Path(data), slot, Limits(), worker.stop_on_signals())
"""


@contextmanager
def started(service: Service, name: str, how: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a slot by its name, and kill it when the block ends.

    Args:
        service: Whose jobs it carries out.
        name: Its name.
        how: "works", or "hangs" while it segments.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "slot.py"
        script.write_text(_SLOT)
        words = [service.settings.url, str(service.settings.data), name, how]
        process = subprocess.Popen([sys.executable, str(script), *words])
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def wait_until(is_so: Callable[[], bool], seconds: float = 90.0) -> None:
    """Look again and again."""
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)
