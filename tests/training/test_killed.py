"""Killed ten times at random moments, a cross-validation leaves the bundle that it would have."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from medseg.dataset.description import DatasetDescription, save_description
from medseg.dataset.plan import Plan, save_plan

_TRAINING = """
import sys
from pathlib import Path
import torch
from medseg.dataset.description import load_description
from medseg.dataset.plan import load_plan
from medseg.training import fit
from medseg.training.crossval import train
from medseg.training.run import RunSettings

torch.set_num_threads(1)
fit.CHECKPOINT_SECONDS = 0.2
home, run = Path(sys.argv[1]), Path(sys.argv[2])
settings = RunSettings(epochs=40, folds=(0, 1, 2, 3, 4), precision="fp32", device="cpu")
began = (run / "run.json").is_file()
train(load_description(home), run, settings, plan=load_plan(home / "given.json"), resume=began)
"""

KILLS = 10


def process(home: Path, run: Path) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-c", _TRAINING, str(home), str(run)]
    return subprocess.Popen(words, stderr=subprocess.PIPE)


def whole(home: Path, run: Path) -> float:
    """Train until the end; processor seconds that it took, which other work hardly changes."""
    begin = os.times()
    last = process(home, run)
    _, errors = last.communicate()
    assert last.returncode == 0, errors.decode()
    end = os.times()
    return end.children_user + end.children_system - begin.children_user - begin.children_system


def kill_after(victim: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Kill a process once it has used so much processor time; False if it ended before."""
    watched = psutil.Process(victim.pid)
    while victim.poll() is None:
        used = watched.cpu_times()
        if used.user + used.system >= seconds:
            victim.send_signal(signal.SIGKILL)
            break
        time.sleep(0.05)
    victim.communicate()
    return victim.returncode == -signal.SIGKILL


def without_times(facts: Any) -> Any:
    """All facts but wall times and the moment of writing."""
    if isinstance(facts, dict):
        kept = {k: v for k, v in facts.items() if "seconds" not in k and k != "created"}
        return {name: without_times(value) for name, value in kept.items()}
    return [without_times(one) for one in facts] if isinstance(facts, list) else facts


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_ten_times_it_leaves_the_same_bundle(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path
) -> None:
    save_description(blobs, tmp_path)
    save_plan(plan, tmp_path / "given.json")
    seconds = whole(tmp_path, tmp_path / "undisturbed")
    drawn, killed = random.Random(0), 0
    run = tmp_path / "killed"
    while killed < KILLS and not (run / "metrics.json").is_file():
        killed += kill_after(process(tmp_path, run), drawn.uniform(0.3, 0.6) * seconds)
    whole(tmp_path, run)
    assert killed == KILLS
    first, second = tmp_path / "undisturbed/bundle", run / "bundle"
    assert sorted(p.name for p in first.iterdir()) == sorted(p.name for p in second.iterdir())
    for weights in first.glob("*.safetensors"):
        assert weights.read_bytes() == (second / weights.name).read_bytes()
    facts = [json.loads((one / "bundle.json").read_text()) for one in (first, second)]
    assert without_times(facts[0]) == without_times(facts[1])
    figures = [json.loads((one.parent / "metrics.json").read_text()) for one in (first, second)]
    for one in figures:
        one.pop("peak_memory_gb")
        one.pop("memory")
        one.pop("samples_per_second")
    assert without_times(figures[0]) == without_times(figures[1])
