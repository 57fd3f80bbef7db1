"""Small volumes for all tests, and the way to real scans where they lie beside the checkout."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real scans; the test is skipped, with this reason, where there is none."""
    root = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not root.is_dir():
        pytest.skip(f"no real scans beside the checkout ({root.name} folder missing)")
    return root
