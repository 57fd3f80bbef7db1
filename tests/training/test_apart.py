"""Folds at the same time: the same bits as in turn, and faults in their own words."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from medseg.bundle import Bundle
from medseg.dataset.description import DatasetDescription, save_description
from medseg.dataset.plan import Plan, save_plan
from medseg.errors import MedsegError
from medseg.training import crossval, folds
from medseg.training.apart import rounds_of
from medseg.training.crossval import train
from medseg.training.prepare import Split
from medseg.training.run import RunSettings

SETTINGS = RunSettings(epochs=2, folds=(0, 2), precision="fp32", device="cpu")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def two_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds, "folds_at_once", lambda _runs: 2)


def same_weights(a: Bundle, b: Bundle) -> bool:
    return all(
        torch.equal(x[name], y[name])
        for x, y in zip(a.members, b.members, strict=True)
        for name in x
    )


def test_folds_are_dealt_out_and_the_cores_with_them() -> None:
    splits = [Split(n, (), ()) for n in range(5)]
    dealt = [(len(r.splits), r.threads) for r in rounds_of(splits, at_once=2, cores=2)]
    assert dealt == [(2, 1), (2, 1), (1, 2)]
    assert [(len(r.splits), r.threads) for r in rounds_of(splits, 5, 16)] == [(5, 3)]
    assert [s.fold for r in rounds_of(splits, 3, 4) for s in r.splits] == [0, 1, 2, 3, 4]


def test_at_once_they_end_with_the_same_bits_as_in_turn(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_turn = train(blobs, tmp_path / "in_turn", SETTINGS, plan=plan)
    monkeypatch.setattr(folds, "folds_at_once", lambda _runs: 2)
    at_once = train(blobs, tmp_path / "at_once", SETTINGS, plan=plan)
    assert same_weights(in_turn, at_once)
    one, other = (
        json.loads((tmp_path / name / "metrics.json").read_text())
        for name in ("in_turn", "at_once")
    )
    assert one["cases"] == other["cases"]
    assert one["steps"] == other["steps"]
    rows = (tmp_path / "at_once/log.csv").read_text().splitlines()
    assert {row.split(",")[0] for row in rows[1:]} == {"0", "2"}


@pytest.mark.usefixtures("two_at_once")
def test_what_goes_wrong_in_a_process_is_said_in_its_own_words(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path
) -> None:
    folder = tmp_path / "run"

    def spoilt(*words: object, **names: object) -> object:
        found = build(*words, **names)
        for path in (folder / "store").rglob("image.npy"):
            path.write_bytes(path.read_bytes()[:100])
        return found

    build = crossval.prepare_all
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crossval, "prepare_all", spoilt)
        with pytest.raises(MedsegError, match="blob_"):
            train(blobs, folder, SETTINGS, plan=plan)
    assert not (folder / "bundle").exists()


_RUNS = """
import sys
from pathlib import Path
import torch
from medseg.dataset.description import load_description
from medseg.dataset.plan import load_plan
from medseg.training import crossval, folds
from medseg.training.run import RunSettings

if __name__ == "__main__":
    torch.set_num_threads(1)
    folds.folds_at_once = lambda _runs: 2
    home = Path(sys.argv[1])
    settings = RunSettings.model_validate_json(sys.argv[2])
    crossval.train(load_description(home), home / "run", settings, plan=load_plan(home / "p.json"))
"""


@pytest.mark.slow
def test_asked_to_stop_all_end_and_the_run_goes_on(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path
) -> None:
    save_description(blobs, tmp_path)
    save_plan(plan, tmp_path / "p.json")
    (tmp_path / "main.py").write_text(_RUNS)
    long = RunSettings(epochs=100_000, folds=(0, 2), precision="fp32", device="cpu")
    words = [sys.executable, str(tmp_path / "main.py"), str(tmp_path), long.model_dump_json()]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        logs = [tmp_path / f"run/folds/fold_{n}/log.csv" for n in (0, 2)]
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and not all(
            log.is_file() and log.read_text().count("\n") > 1 for log in logs
        ):
            time.sleep(0.2)
        os.kill(process.pid, signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "TrainingStopped" in said
    assert all((tmp_path / f"run/checkpoint/fold_{n}.safetensors").is_file() for n in (0, 2))
