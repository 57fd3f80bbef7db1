"""Fill the page of commands with what `medseg COMMAND --help` prints: it cannot go stale."""

import os
import subprocess
import sys
from typing import Any

COMMANDS = (
    "", "demo", "info", "convert", "dataset import", "dataset check", "dataset split",
    "dataset fetch", "plan", "train", "predict", "evaluate",
)  # fmt: skip
PLACE = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark on a page by the help of every command."""
    if PLACE not in markdown:
        return markdown
    return markdown.replace(PLACE, "\n".join(map(_section, COMMANDS)))


def _section(command: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "medseg", *command.split(), "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "88", "NO_COLOR": "1"},
    )
    title = f"medseg {command}".strip()
    return f"## {title}\n\n```text\n{run.stdout.strip()}\n```\n"
