"""How long work tells whoever started it how far it is.

The command line draws bars; a library call passes `SILENT`.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One bar: so many steps of one kind of work."""

    def advance(self, steps: float = 1, **facts: str) -> None:
        """Go on by `steps`; `facts` are shown beside the bar (for example `dice="0.88"`)."""
        ...


class Progress(Protocol):
    """Whoever wants to be told."""

    def task(self, what: str, total: float | None) -> AbstractContextManager[Task]:
        """Open a bar named `what` with `total` steps (None: not known)."""
        ...

    def note(self, message: str) -> None:
        """Say one sentence, in the order of the work."""
        ...


class _SilentTask:
    def advance(self, steps: float = 1, **facts: str) -> None:
        pass


class Silent:
    """Tells nobody."""

    @contextmanager
    def task(self, what: str, total: float | None) -> Iterator[Task]:
        """Open a bar that nobody sees."""
        yield _SilentTask()

    def note(self, message: str) -> None:
        """Say nothing."""


SILENT: Progress = Silent()
"""The default where nobody watches."""
