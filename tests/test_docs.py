"""What the documentation tells people to type works.

On each page, blocks marked `python` run one after the other in one namespace, and each line of a
`bash` block that begins with `medseg` runs as a command, in the order of the page, in a folder
that holds a made-up study and a small scan. Blocks marked `console` show what a long run looks like
and are not run.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medseg import Geometry, Volume, write_volume
from medseg.dataset.phantom import make_phantom, write_study

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def snippets(page: Path) -> list[tuple[str, str]]:
    """Language and text of each block of a page that is to be run."""
    return [(match[1], match[2]) for match in BLOCK.finditer(page.read_text())]


def write_scan(path: Path) -> None:
    """A crop of 1 mm, so small that the bundle in the box answers at once."""
    array = make_phantom(np.random.default_rng(0))[0].array[:, 20:56, 8:58, :]
    write_volume(Volume(array, Geometry.from_spacing((1.0, 1.0, 1.0), array.shape[1:])), path)


def run_bash(text: str, folder: Path) -> None:
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("medseg "):
            words = shlex.split(line, comments=True)[1:]
            run = subprocess.run(
                [sys.executable, "-m", "medseg", *words],
                cwd=folder, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert run.returncode == 0, f"{line}\n{run.stdout}\n{run.stderr}"


@pytest.mark.docs
@pytest.mark.parametrize(
    "page", [p for p in PAGES if snippets(p)], ids=lambda p: str(p.relative_to(ROOT))
)
def test_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path, training=6, unseen=1, seed=0)
    write_scan(tmp_path / "scan.nii.gz")
    namespace: dict[str, object] = {}
    for language, text in snippets(page):
        if language == "python":
            exec(compile(text, str(page), "exec"), namespace)
        else:
            run_bash(text, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} points to {target}"
