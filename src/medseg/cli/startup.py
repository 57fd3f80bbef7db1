"""Loading packages quickly: the garbage collector rests until they are there."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Let the garbage collector rest in this block, and never look at what it leaves again.

    Modules stay until the end of the process, so that walking through all they have made, again
    and again while they are loaded, finds nothing: a fifth of the time of a short command.
    """
    at_work = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if at_work:
            gc.freeze()
            gc.enable()
