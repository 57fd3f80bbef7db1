"""A child process that carries out stages, with limits on its memory and time."""

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medseg.errors import JobFailed, MedsegError

_BEAT_SECONDS = 0.25
"""How often it is asked whether the job was cancelled."""

_START_SECONDS = 120.0


class CaseFault(MedsegError):
    """An error that is the case's own, as the child told it."""

    code = "service-case"

    def __init__(self, fault: dict[str, str]) -> None:
        super().__init__(fault["rule"], received=fault["received"], cure=fault["cure"])
        self.code = fault["code"]  # type: ignore[misc]


class SlotEnds(BaseException):
    """The slot ends while a job runs: no failure of the job, which whoever comes next takes up.

    No `Exception`, so that nobody on the way records it as an outcome.
    """


class Child:
    """One process at a time, started when it is needed and again after it died.

    Args:
        memory_bytes: What it may hold.
        bundle: Made ready at the start, before the first job comes.
    """

    def __init__(self, memory_bytes: int, bundle: Path | None = None) -> None:
        self.memory_bytes, self.bundle = memory_bytes, bundle
        self._process: subprocess.Popen[str] | None = None
        self._is_up = self._is_closed = False
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def start(self) -> None:
        """Start it, so that the first job need not wait; nobody waits here until it is up."""
        if self._process is not None and self._process.poll() is None:
            return
        self.kill()
        command = [sys.executable, "-m", "medseg.service.child", str(self.memory_bytes)]
        if self.bundle is not None:
            command.append(str(self.bundle))
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._answers = queue.SimpleQueue()
        reader = threading.Thread(
            target=_read, args=(self._process, self._answers), daemon=True, name="child-answers"
        )
        reader.start()
        self._is_up = False

    def ask(
        self,
        stage: str,
        work: dict[str, Any],
        *,
        seconds: float,
        told: Callable[[float], None] = lambda share: None,
        is_ended: Callable[[], bool] = lambda: False,
    ) -> dict[str, Any]:
        """Carry out a stage.

        Args:
            stage: See `child.STAGES`.
            work: A `Work`, as JSON.
            seconds: When they are over the child is killed.
            told: Told how much is done.
            is_ended: Asked now and then; when it says so the child is killed.

        Raises:
            CaseFault: If the case cannot be segmented.
            JobFailed: If the child died, took too long, or the job was ended.
            SlotEnds: If `close` was called.
        """
        if self._is_closed:
            raise SlotEnds
        self.start()
        if not self._is_up:
            self._next(time.monotonic() + _START_SECONDS, is_ended)
            self._is_up = True
        until = time.monotonic() + seconds
        assert self._process is not None
        assert self._process.stdin is not None
        request = {"stage": stage, "work": work, "memory_bytes": self.memory_bytes}
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._died() from None
        while True:
            words = self._next(until, is_ended)
            if "progress" in words:
                told(float(words["progress"]))
            elif "fault" in words:
                raise CaseFault(words["fault"])
            elif "crash" in words:
                self.kill()
                raise _failed(f"{words['crash']} in the process that segments")
            else:
                return dict(words["done"])

    def _next(self, until: float, is_ended: Callable[[], bool]) -> dict[str, Any]:
        while True:
            try:
                line = self._answers.get(timeout=_BEAT_SECONDS)
            except queue.Empty:
                if is_ended():
                    self.kill()
                    raise _failed("a job that was ended meanwhile") from None
                if time.monotonic() > until:
                    self.kill()
                    raise _failed("more seconds than limits.job_seconds") from None
                continue
            if line is None:
                raise self._died()
            return dict(json.loads(line))

    def _died(self) -> JobFailed:
        if self._is_closed:
            raise SlotEnds
        process, self._process = self._process, None
        code = None if process is None else process.wait()
        ended = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return _failed(f"the end of the process that segments: {ended}")

    def kill(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End it for good; whoever waits for an answer is told that the slot ends."""
        self._is_closed = True
        self.kill()

    @property
    def pid(self) -> int | None:
        """Of the process; None while there is none."""
        return None if self._process is None else self._process.pid


def _failed(received: str) -> JobFailed:
    return JobFailed(
        "An attempt at a job stays within its time and memory.",
        received=received,
        cure="It is tried again, limits.attempts times in all; raise limits for large scans.",
    )


def _read(process: "subprocess.Popen[str]", answers: "queue.SimpleQueue[str | None]") -> None:
    """Pass answers on, and at the end None."""
    assert process.stdout is not None
    for line in process.stdout:
        answers.put(line)
    answers.put(None)
