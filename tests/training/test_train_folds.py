"""How many folds are trained at once is decided once for a run."""

from pathlib import Path

import pytest

from medseg.training import folds
from medseg.training.run import RunFolder, RunRecord, RunSettings


def test_a_resumed_run_keeps_what_was_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path)
    folder.save(RunRecord(settings=RunSettings(epochs=1), dataset="Blobs", cases_hash="0"))
    for machine, decided in ((3, 3), (5, 3)):
        monkeypatch.setattr(folds, "folds_at_once", lambda _runs, n=machine: n)
        assert folds._folds_at_once(folder, []) == decided
    assert RunRecord.model_validate_json(folder.record.read_bytes()).folds_at_once == 3
