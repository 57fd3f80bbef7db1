"""What does prediction cost beside the network, and what does overlapping files with it win?

1. 256x256x200 voxels, windows of 96^3, a network that costs nothing (it returns the same
   probabilities each time): seconds of cutting, weighing, merging, voting and judging, and the
   largest resident memory. The logits of all classes in float32 would take 5.2 GiB for 106.
2. Many small NIfTI files through `predict_cases` and one after another.

    python bench/predict.py
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from classes import SIZE, SPACING_MM, random_bundle
from medseg.inference.batch import predict_cases
from medseg.inference.engine import Activation, Part
from medseg.inference.evidence import to_evidence
from medseg.inference.inputs import find_inputs
from medseg.inference.predict import Predictor
from medseg.inference.quality import Expectation, estimate_quality
from medseg.inference.window import sweep
from medseg.space.votes import vote
from medseg.specs import WindowSpec
from medseg.types import FloatArray
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_volume, write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume

PATCH = (96, 96, 96)


class FreeNetwork:
    """Gives one answer, made beforehand: blocks of organs with soft borders."""

    def __init__(self, classes: int) -> None:
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, classes, (6, 6, 6))
        fine = coarse.repeat(16, 0).repeat(16, 1).repeat(16, 2)
        self.answer = np.full((1, classes, *PATCH), 0.1 / classes, np.float32)
        np.put_along_axis(self.answer[0], fine[None], 0.9, axis=0)

        self.answer = np.log(self.answer)

    opinions = 1
    activation: Activation = "softmax"

    def parts(self, batch: FloatArray, depth: float) -> Iterator[Part]:
        """Evidence of one window, plane by plane; windows of this size come one at a time."""
        for n in range(PATCH[0]):
            plane = self.answer[:, :, n : n + 1].copy()
            to_evidence(plane, self.activation, depth)
            yield Part(n, plane)


def overhead(classes: int) -> None:
    labels = tuple(Label(value=n, name=f"organ {n}") for n in range(1, classes))
    network, spec = FreeNetwork(classes), WindowSpec(patch_size=PATCH)
    for size in (PATCH, SIZE):  # the small one compiles the kernels
        image = np.zeros((1, *size), np.float32)
        start = time.perf_counter()
        place = Geometry.from_spacing(SPACING_MM, size)
        top = sweep(image, network, spec, classes=classes, geometry=place)
        swept = time.perf_counter()
        finer = Geometry.from_spacing((1.2, 1.2, 1.2), size)
        array = vote(top, finer)
        voted = time.perf_counter()
        expectation = Expectation(classes)
        expectation.add(top)
        estimate_quality([expectation], LabelMap(array, finer, labels), volume_ranges_ml={})
        judged = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{classes:7} {swept - start:9.1f} {voted - swept:7.2f} {judged - voted:8.2f} {peak:8.0f}"
    )


def overlapped(count: int) -> None:
    predictor = Predictor(random_bundle(3, patch=32, width=8, overlap=0.5))
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n in range(count):
            array = rng.normal(0, 300, (1, 256, 256, 16)).astype(np.float32)
            volume = Volume(array, Geometry.from_spacing(SPACING_MM, array.shape[1:]))
            write_volume(volume, folder / "in" / f"{n:03}.nii.gz")
        cases = find_inputs([folder / "in"])
        predictor.predict(read_volume(cases[0].images))
        start = time.perf_counter()
        for case in cases:
            mask = predictor.predict(case.read()).label_map
            write_label_map(mask, folder / "one" / f"{case.id}.nii.gz")
        middle = time.perf_counter()
        predict_cases(cases, predictor, folder / "many")
        end = time.perf_counter()
    print(
        f"{count} files one after another {middle - start:.1f} s, overlapped {end - middle:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, help="measure the overhead of this many only")
    parser.add_argument("--files", type=int, default=10)
    options = parser.parse_args()
    if options.classes:
        overhead(options.classes)
        return
    print("classes   sweep s  vote s  judge s  peak MB", flush=True)
    for classes in (3, 20, 106):
        subprocess.run([sys.executable, __file__, "--classes", str(classes)], check=True)
    overlapped(options.files)


if __name__ == "__main__":
    main()
