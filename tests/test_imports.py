"""What is loaded when: the front door and `--help` stay light."""

import subprocess
import sys

import pytest

import medseg

HEAVY = ("torch", "numba", "scipy", "SimpleITK", "pydicom", "highdicom", "nibabel", "matplotlib",
         "lightning_fabric", "monai", "pandas", "seaborn")  # fmt: skip


def loaded_after(statement: str) -> set[str]:
    """Top-level packages in a fresh interpreter after `statement`."""
    code = f"{statement}\nimport sys\nsys.stderr.write(' '.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in run.stderr.split()}


def test_import_loads_nothing_heavy() -> None:
    assert loaded_after("import medseg").isdisjoint({*HEAVY, "numpy", "pydantic", "typer", "rich"})


def test_help_loads_nothing_heavy() -> None:
    statement = (
        "import sys; sys.argv = ['medseg', '--help']\n"
        "from medseg.cli.app import main\n"
        "try: main()\nexcept SystemExit: pass"
    )
    assert loaded_after(statement).isdisjoint({*HEAVY, "numpy", "pydantic"})


def test_this_test_can_fail() -> None:
    assert "torch" in loaded_after("import torch")


@pytest.mark.parametrize("name", [n for n in medseg.__all__ if n != "__version__"])
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(medseg, name).__name__ == name


def test_the_front_door_is_small_and_honest() -> None:
    assert len(medseg.__all__) <= 20
    assert set(dir(medseg)) == set(medseg.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = medseg.nothing
