"""Pages that cannot go stale: commands with their help, notebooks run, networks drawn.

A notebook lies in `docs/` without outputs. Each build runs it and makes a page of it; a cell that
fails fails the build.
"""

import html
import math
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
    "", "demo", "info", "convert", "convert-weights", "import-nnunet", "dataset import",
    "dataset check", "dataset split", "dataset fetch", "dataset export", "networks", "plan",
    "train", "predict", "stream", "export", "quantize", "distill", "bench", "drift baseline",
    "drift calibrate", "drift check", "drift watch", "serve", "worker", "serve-key create",
    "serve-key list", "serve-key revoke", "select", "version init", "version add",
    "version commit", "version list", "version diff", "version checkout", "version remote",
    "version push", "version pull", "version show", "loop run", "loop promote",
    "loop rollback", "loop history", "evaluate", "compare", "view", "report",
)  # fmt: skip
PLACE = "<!-- commands -->"
LAYERS = re.compile(r"<!-- layers (\w+) -->")
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
    """Replace the marks on a page by the help of every command, and by drawings of networks."""
    if PLACE in markdown:
        markdown = markdown.replace(PLACE, "\n".join(map(_section, COMMANDS)))
    return LAYERS.sub(lambda match: _drawing(match[1]), markdown)


def _drawing(name: str) -> str:
    """The layers of a network in its paper's setting: a bar each, by values and weights."""
    from medseg.dataset.cost import layers
    from medseg.specs import PAPERS

    paper = PAPERS[name]
    shown = [layer for layer in layers(paper.spec(), paper.grid) if layer.values]
    width, height = 640, 120
    tallest = max(math.log10(layer.values) for layer in shown)
    lowest = min(math.log10(layer.values) for layer in shown) - 0.5
    step, bars = width / len(shown), []
    for n, layer in enumerate(shown):
        tall = height * (math.log10(layer.values) - lowest) / (tallest - lowest)
        shade = min(1.0, 0.15 + 0.14 * math.log10(max(layer.weights, 1)))
        words = f"{layer.values:,} values, {layer.weights:,} weights, {layer.macs:,} multiply-adds"
        bars.append(
            f'<rect x="{n * step:.1f}" y="{(height - tall) / 2:.1f}" width="{0.8 * step:.1f}" '
            f'height="{tall:.1f}" fill="currentColor" fill-opacity="{shade:.2f}">'
            f"<title>{words}</title></rect>"
        )
    title = f"Layers of {name}, in the order they run"
    return (
        f'<div class="figure"><svg viewBox="0 0 {width} {height}" width="100%" role="img" '
        f'aria-label="{title}">{"".join(bars)}</svg></div>'
    )


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
