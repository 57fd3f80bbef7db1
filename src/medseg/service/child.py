"""The process that decodes and segments: told what to do in lines of JSON, bounded in memory.

It may die of what it is given; then one attempt is lost and nothing else. Its answers go to what
was its standard output; whatever libraries print is dropped, since it may name a patient.
"""

import contextlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

_FOLDERS = re.compile(r"(?<![\w/])/(?:[^\s/:;,]+/)+")
"""Folders of the service are nobody's business: of a path only the name is told."""

STAGES = ("assemble", "segment", "encode")

_LOOK_SECONDS = 0.5


def main() -> None:
    """Answer one request a line until there are no more."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    most_bytes = int(sys.argv[1])
    from medseg.service.logs import start_logs
    from medseg.service.pseudonyms import Pseudonyms

    start_logs(Pseudonyms.passing(), silent=True)
    from medseg.allocator import keep_freed_memory

    keep_freed_memory()
    from medseg.inference.memory import bounded
    from medseg.service.segmenting import Segmenter

    segmenter = Segmenter()
    _say(answers, {"ready": os.getpid()})
    with bounded(most_bytes):
        if len(sys.argv) > 2:
            segmenter.make_ready(Path(sys.argv[2]))
        for line in sys.stdin:
            answer(json.loads(line), segmenter, lambda words: _say(answers, words))


def answer(request: dict[str, Any], segmenter: Any, say: Callable[[dict[str, Any]], None]) -> None:
    """Carry out one stage and say what came of it.

    Says `{"progress": share}` on the way, and at the end `{"done": facts}`, `{"fault": ...}` for an
    error that is the case's own, or `{"crash": name}` for any other.
    """
    from medseg.errors import CannotWrite, MedsegError
    from medseg.inference.memory import within
    from medseg.service.work import Work

    if request["stage"] not in STAGES:
        raise ValueError(f"no such stage: {request['stage']}")
    try:
        work = Work.model_validate(request["work"])
        with within(request.get("memory_bytes")):
            stage = getattr(segmenter, request["stage"])
            facts = stage(work, lambda share: say({"progress": share}))
    except CannotWrite as error:
        say({"crash": error.code})
    except MedsegError as error:
        words = {"rule": error.rule, "received": error.received, "cure": error.cure}
        parts = {name: _FOLDERS.sub("", text) for name, text in words.items()}
        say({"fault": {"code": error.code, **parts}})
    except Exception as error:
        say({"crash": type(error).__name__})
    else:
        say({"done": facts})


def _end_with(parent: int) -> None:
    """End when the slot is gone: another one carries out the job, and memory is not held twice."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


def _say(answers: TextIO, words: dict[str, Any]) -> None:
    answers.write(json.dumps(words) + "\n")
    answers.flush()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # the slot is gone, and nobody listens
        main()
