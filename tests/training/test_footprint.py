"""What memory a run took."""

import numpy as np
import pytest

from medseg.training import footprint as room
from medseg.training.footprint import footprint, peak_memory_gb


def test_what_was_held_once_counts_for_ever() -> None:
    before = peak_memory_gb()
    held = np.ones(int(0.2e9 / 8) + int(before * 1e9 / 8))
    held_gb = held.nbytes / 1e9
    del held
    assert peak_memory_gb() >= held_gb
    assert 0.01 < before < peak_memory_gb() < 100


def test_one_process_is_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "peak_memory_gb", lambda: 1.5)
    found = footprint(0.4, [1.2, 1.4], at_once=1)
    assert (found.prepared_gb, found.fold_gb, found.together_gb) == (0.4, 1.4, 1.5)


def test_processes_beside_each_other_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "peak_memory_gb", lambda: 0.5)
    found = footprint(0.4, [1.0, 1.2, 1.1], at_once=2)
    assert found.fold_gb == 1.2
    assert found.together_gb == pytest.approx(0.5 + 1.2 + 1.1)
    assert "0.40 GB until the cases were prepared, 1.20 GB in a process" in found.sentence
    assert "2.80 GB in all" in found.sentence
