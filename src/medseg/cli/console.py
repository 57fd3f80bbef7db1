"""What a command says: bars and tables for people, JSON for machines, a sentence on failure."""

import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from medseg.errors import MedsegError
from medseg.progress import SILENT, Progress

EXIT_FAILED = 1
"""The work failed; 2 (wrong usage) is typer's own."""


class Console:
    """Where a command writes.

    Attributes:
        as_json: Whether stdout holds one JSON object and nothing else.
        progress: Bars on stderr, or nobody when `as_json`.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.progress: Progress = SILENT
        if not as_json:
            from medseg.cli.bars import Bars

            self.progress = Bars()

    def say(self, text: str) -> None:
        """Print a line for people."""
        if not self.as_json:
            print(text, flush=True)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table for people."""
        if self.as_json:
            return
        from rich import box
        from rich.console import Console as RichConsole
        from rich.table import Column, Table

        wrapped = [Column(name, overflow="fold") for name in columns]
        table = Table(*wrapped, title=title, title_justify="left", box=box.SIMPLE_HEAD)
        for row in rows:
            table.add_row(*row)
        RichConsole(highlight=False, markup=False).print(table)

    def complain(self, code: str, sentence: str) -> None:
        """Print the error of one part of the work on stderr; the rest goes on."""
        if not self.as_json:
            print(f"error [{code}]: {sentence}", file=sys.stderr, flush=True)

    def pass_on(self, answer: str | None) -> None:
        """Print the JSON that another command gave as its answer."""
        if self.as_json and answer:
            print(answer, end="", flush=True)

    def result(self, facts: Mapping[str, Any]) -> None:
        """Print the command's outcome for machines."""
        if self.as_json:
            print(json.dumps(facts, indent=2, default=str), flush=True)


@contextmanager
def reporting(*, as_json: bool) -> Iterator[Console]:
    """Give the command its console, and turn whatever a user can cause into one sentence.

    Args:
        as_json: Whether the outcome is printed as JSON (an error too: `{"error": {...}}`).

    Raises:
        typer.Exit: With code 1 after the sentence was printed.
    """
    _write_any_name()
    try:
        yield Console(as_json=as_json)
    except MedsegError as error:
        _fail(error.code, str(error), as_json=as_json)
    except KeyboardInterrupt:
        _fail("interrupted", "Stopped by the user; nothing half was written.", as_json=as_json)
    except MemoryError:
        _fail("memory", "There is not enough memory for this case.", as_json=as_json)
    except BrokenPipeError:
        raise typer.Exit(EXIT_FAILED) from None
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        _fail("system", f"The system refused{where}: {error.strerror or error}.", as_json=as_json)


def _write_any_name() -> None:
    """Print what the terminal's encoding lacks as an escape: names need not be text everywhere."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fail(code: str, sentence: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": {"code": code, "message": sentence}}, indent=2), flush=True)
    else:
        print(f"error [{code}]: {sentence}", file=sys.stderr, flush=True)
    raise typer.Exit(EXIT_FAILED)
