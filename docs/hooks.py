"""Pages that cannot go stale: commands with the help they print, notebooks with what they give.

A notebook lies in `docs/` without outputs. Each build runs it and makes a page of it; a cell that
fails fails the build.
"""

import html
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbclient
import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from traitlets.config import Config

COMMANDS = (
    "", "demo", "info", "convert", "dataset import", "dataset check", "dataset split",
    "dataset fetch", "networks", "plan", "train", "predict", "evaluate", "compare", "view", "report",
)  # fmt: skip
PLACE = "<!-- commands -->"
_SECONDS = 240


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Put the page of each notebook in the place of the notebook."""
    for file in [one for one in files if one.src_uri.endswith(".ipynb")]:
        files.remove(file)
        page = file.src_uri.removesuffix(".ipynb") + ".md"
        content = _executed(Path(str(file.abs_src_path)))
        files.append(File.generated(config, page, content=content))
    return files


def _executed(notebook: Path) -> str:
    """What a notebook says, as Markdown: text, code and what the code gave."""
    content = nbformat.read(notebook, as_version=4)
    local = Config({"KernelManager": {"transport": "ipc"}})
    nbclient.NotebookClient(
        content, config=local, timeout=_SECONDS, kernel_name="python3"
    ).execute()
    parts = []
    for cell in content.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        else:
            parts += [f"```python\n{cell.source}\n```", *map(_shown, cell.outputs)]
    return "\n\n".join(part for part in parts if part)


def _shown(output: Any) -> str:
    """One output; progress and warnings on stderr are left out."""
    if output.output_type == "stream":
        return f"```text\n{output.text.rstrip()}\n```" if output.name == "stdout" else ""
    data = output.get("data", {})
    if "image/svg+xml" in data:
        svg = re.sub(r"\s*\n\s*", " ", data["image/svg+xml"][data["image/svg+xml"].index("<svg") :])
        return f'<div class="figure">{svg}</div>'
    if "image/png" in data:
        return f'<img alt="Figure" src="data:image/png;base64,{data["image/png"].strip()}">'
    return f"<pre>{html.escape(data.get('text/plain', ''))}</pre>"


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
