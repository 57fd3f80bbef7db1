"""The script that measures a GPU, tried without one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "bench" / "gpu_inference.py"


@pytest.mark.slow
def test_all_ways_but_tensorrt_go_from_file_to_mask_in_a_dry_run():
    words = [sys.executable, SCRIPT, "--dry", "--rounds", "1"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "a dry run, no figures" in done.stdout
    assert "Left out: TensorRT, fp16. The engine tensorrt needs" in done.stdout
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| ")]
    header, *ways = [[cell.strip() for cell in row] for row in rows]
    assert header[0] == "way"
    assert len(ways) == 5
    for row in ways:
        found = dict(zip(header, row, strict=True))
        stages = [float(found[name]) for name in header if name.endswith(", s") and name != "s"]
        assert len(stages) == 5
        assert float(found["s"]) == pytest.approx(sum(stages), abs=0.05)
        assert float(found["as in fp32"]) > 0.9
    assert float(ways[0][header.index("x fp32")]) == 1.0


def test_without_a_gpu_it_says_so():
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    words = [sys.executable, SCRIPT]
    done = subprocess.run(words, capture_output=True, text=True, env=hidden, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "No GPU that torch sees. Try the script with --dry."
