"""Small volumes for all tests, and the way to real scans where they lie beside the checkout."""

from pathlib import Path

import coverage
import pytest
from hypothesis import settings

settings.register_profile("few", max_examples=10, deadline=None)
"""For a run that is watched line by line: a law is covered by few cases as well as by many."""


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real scans; the test is skipped, with this reason, where there is none."""
    root = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not root.is_dir():
        pytest.skip(f"no real scans beside the checkout ({root.name} folder missing)")
    return root


def pytest_sessionfinish() -> None:
    """Keep what was watched: a process with threads of servers in it may be killed at its end."""
    watching = coverage.Coverage.current()
    if watching is not None:
        watching.save()
