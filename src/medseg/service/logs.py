"""Logs as lines of JSON on stderr, in which no patient can be found.

A line of ours is the name of an event with fields. UIDs are hashed and texts that are no known word
are withheld; of other packages' messages, which may hold anything, only where they come from is
told. So nothing depends on everybody's care in each line.
"""

import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from medseg.errors import MedsegError
from medseg.service.pseudonyms import Pseudonyms

WORDS = frozenset({
    "job_id", "slot", "stage", "state", "code", "destination", "rule", "model", "method", "route",
    "error", "door", "outcome", "action", "kind", "host", "command", "version",
})  # fmt: skip
"""Fields whose text is the service's own and is shown; `*_uid` is hashed; others are withheld."""

_EVENT = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_UID = re.compile(r"[0-9]+(?:\.[0-9]+){5,}|2\.25\.[0-9]+")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_FRAMES = 12
_FOREIGN = ("uvicorn", "uvicorn.error", "uvicorn.access", "dbos", "pynetdicom", "pydicom", "httpx")
_LONGEST = 200


class JsonLines(logging.Formatter):
    """The only formatter of the service's processes.

    Args:
        pseudonyms: How UIDs are called.
    """

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        super().__init__()
        self._pseudonyms = pseudonyms

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "at": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name.removeprefix("medseg."),
            "process": record.process,
        }
        event = str(record.msg)
        if _is_ours(record) and not record.args and _EVENT.fullmatch(event):
            line["event"] = event
            extra = {k: v for k, v in vars(record).items() if k not in _STANDARD}
            line.update({key: self._told(key, value) for key, value in extra.items()})
        else:
            line["event"] = "message.withheld"
            line["where"] = f"{record.filename}:{record.lineno}"
        if record.exc_info and record.exc_info[1] is not None:
            line.update(_failure(record.exc_info[1]))
        return json.dumps(line, ensure_ascii=True)

    def _told(self, key: str, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, list | tuple):
            return [self._told(key, one) for one in value[:100]]
        if not isinstance(value, str):
            return "withheld"
        if key.endswith(("_uid", "_uids")):
            return self._pseudonyms.hashed(value)
        if key not in WORDS:
            return "withheld"
        return _UID.sub(lambda found: self._pseudonyms.hashed(found[0]), value)[:_LONGEST]


def start_logs(
    pseudonyms: Pseudonyms, *, stream: TextIO | None = None, silent: bool = False
) -> None:
    """Let everything that this process says go through `JsonLines`.

    Args:
        pseudonyms: How UIDs are called.
        stream: Where lines go; None for stderr.
        silent: Whether what is written to stdout and stderr past the logs is dropped: libraries in
            C print of the files that they read.
    """
    target = sys.stderr if stream is None else stream
    if silent:
        target = os.fdopen(os.dup(2), "w", encoding="utf-8", buffering=1)
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        os.close(nothing)
    handler = logging.StreamHandler(target)
    handler.setFormatter(JsonLines(pseudonyms))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("medseg").setLevel(logging.INFO)
    logging.raiseExceptions = False  # a line that cannot be written is not told with its content
    logging.captureWarnings(True)
    tame(_FOREIGN)
    sys.excepthook = _say_failure
    threading.excepthook = lambda words: _say_failure(
        words.exc_type, words.exc_value, words.exc_traceback
    )
    sys.unraisablehook = lambda words: _say_failure(
        words.exc_type, words.exc_value, words.exc_traceback
    )


def tame(names: Iterable[str]) -> None:
    """Take handlers of their own from loggers: what they say goes through the root's.

    Args:
        names: Of the loggers; those of packages that add handlers when they are started are named
            again after that.
    """
    for name in names:
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
        logger.setLevel(logging.WARNING)


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name == "medseg" or record.name.startswith("medseg.")


def _failure(error: BaseException) -> dict[str, Any]:
    """Which error and where, without its words."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    line: dict[str, Any] = {"error": type(error).__name__}
    if isinstance(error, MedsegError):
        line["code"] = error.code
    line["trace"] = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames]
    return line


def _say_failure(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    shown = error if error is not None else kind()
    logging.getLogger("medseg.service").error("uncaught", exc_info=(kind, shown, trace))
