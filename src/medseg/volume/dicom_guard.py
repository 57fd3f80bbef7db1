"""Whatever a parser or a decoder raises on a broken file becomes one sentence."""

import contextlib
from collections.abc import Callable, Iterator

from medseg.errors import MedsegError


@contextlib.contextmanager
def understood(refuse: Callable[[str], MedsegError]) -> Iterator[None]:
    """Turn any failure to understand a file into a refusal; our own errors pass as they are.

    Args:
        refuse: Makes the error from what went wrong.
    """
    try:
        yield
    except (MedsegError, MemoryError):
        raise
    except Exception as error:  # parsers and C libraries raise whatever they meet
        raise refuse(f"{type(error).__name__}: {error}") from error
