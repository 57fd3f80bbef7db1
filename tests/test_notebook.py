"""The notebooks of the documentation run, here without Jupyter: their code in one namespace."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "docs").rglob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    display = ModuleType("IPython.display")
    display.SVG = shown.append  # type: ignore[attr-defined]
    display.Image = lambda filename: shown.append(filename)  # type: ignore[attr-defined]
    jupyter = ModuleType("IPython")
    jupyter.version_info = (9, 0)  # type: ignore[attr-defined]
    jupyter.get_ipython = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", jupyter)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for cell in json.loads(path.read_text())["cells"]:
        assert not cell.get("outputs"), "a notebook is kept without outputs"
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), str(path), "exec"), namespace)
    assert len(shown) >= 3
    assert all(one.startswith("<svg") or Path(one).is_file() for one in shown)
