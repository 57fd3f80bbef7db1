"""How long does `medseg evaluate` take, from its start to its page? Wall seconds of the command.

The references are the label maps of a folder; the predictions are the same, moved by one voxel.

    python bench/evaluate.py ../shared/data/Task04_Hippocampus/labelsTr --cases 60
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from medseg.training.probe import processor_name
from medseg.volume.io import read_label_map, write_label_map

TIMES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = Path(__file__).parent.parent.parent / "shared" / "data"
    default = data / "Task04_Hippocampus" / "labelsTr"
    parser.add_argument("labels", type=Path, nargs="?", default=default)
    parser.add_argument("--cases", type=int, default=60)
    options = parser.parse_args()
    paths = sorted(options.labels.glob("[!.]*.nii.gz"))[: options.cases]
    with tempfile.TemporaryDirectory() as temporary:
        predictions, references = (Path(temporary) / name for name in ("predicted", "references"))
        references.mkdir()
        for path in paths:
            shutil.copy(path, references)
            label_map = read_label_map(path)
            moved = replace(label_map, array=np.roll(label_map.array, 1, 1))
            write_label_map(moved, predictions / path.name)
        seconds = []
        for n in range(TIMES):
            words = ["evaluate", predictions, references, "--out", Path(temporary) / f"out{n}"]
            begin = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "medseg", *map(str, words)], check=True, capture_output=True
            )
            seconds.append(time.perf_counter() - begin)
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {processor_name()}, "
        f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, "
        f"medseg {version('medseg')}; {len(paths)} cases of {options.labels}"
    )
    print(f"from start to page: {', '.join(f'{one:.2f}' for one in sorted(seconds))} s")


if __name__ == "__main__":
    main()
