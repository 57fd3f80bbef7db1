"""Progress bars with an estimate of the time that is left, on stderr."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from medseg.progress import Task

_LOG_COLUMNS = 160
"""Width of a log, where there is no terminal to ask."""


def _facts_column() -> Column:
    """Facts get the width that is left, so that a long one never pushes the bar away."""
    return Column(ratio=1, no_wrap=True, overflow="ellipsis")


class _Bar:
    """One task of a shared rich display."""

    def __init__(self, display: Progress, task: TaskID) -> None:
        self._display, self._task = display, task
        self._facts: dict[str, str] = {}

    def advance(self, steps: float = 1, **facts: str) -> None:
        """Go on, and show the newest facts."""
        self._facts.update(facts)
        shown = "  ".join(f"{name.replace('_', ' ')} {fact}" for name, fact in self._facts.items())
        self._display.update(self._task, advance=steps, facts=shown)


class Bars:
    """Draws on stderr; where that is no terminal, each task leaves one line when it ends."""

    def __init__(self) -> None:
        wide = None if sys.stderr.isatty() else _LOG_COLUMNS
        self._console = Console(stderr=True, highlight=False, markup=False, width=wide)
        self._lock = threading.Lock()
        self._display: Progress | None = None
        self._open = 0

    @contextmanager
    def task(self, what: str, total: float | None) -> Iterator[Task]:
        """Show a bar for as long as the block runs."""
        display = self._enter()
        task = display.add_task(what, total=total, facts="")
        try:
            yield _Bar(display, task)
        finally:
            self._leave()

    def note(self, message: str) -> None:
        """Print a line above the bars."""
        self._console.print(message, soft_wrap=True)

    def _enter(self) -> Progress:
        with self._lock:
            if self._display is None:
                self._display = Progress(
                    TextColumn("{task.description}", markup=False),
                    BarColumn(bar_width=24),
                    MofNCompleteColumn(),
                    TimeElapsedColumn(),
                    TextColumn("left"),
                    TimeRemainingColumn(),
                    TextColumn("{task.fields[facts]}", markup=False, table_column=_facts_column()),
                    console=self._console,
                    refresh_per_second=4,
                    expand=True,
                )
                self._display.start()
            self._open += 1
            return self._display

    def _leave(self) -> None:
        with self._lock:
            self._open -= 1
            if self._open == 0 and self._display is not None:
                self._display.stop()
                self._display = None
