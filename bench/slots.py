"""How many classes must a voxel keep, and from which probability on, to elect the naive way's mask?

106 classes on 48x44x40 voxels, windows of 16^3 that overlap by half and disagree a little, brought
to a grid of half the spacing. The naive way keeps all logits, averages them, interpolates them
linearly and takes the largest. Two kinds of logits: cells around random points, where a few classes
meet as organs do, and unrelated smooth noise, where more compete than anywhere in a body. Printed
are the mean Dice of the classes against the naive mask and the seconds of merging windows.

    python bench/slots.py
"""

import time
from collections.abc import Iterator
from unittest import mock

import numpy as np
from scipy.ndimage import gaussian_filter

from medseg.inference import window
from medseg.inference.engine import Part
from medseg.inference.evidence import to_evidence
from medseg.space.grids import grid_at_spacing
from medseg.space.resample import resample_array
from medseg.space.votes import vote
from medseg.specs import WindowSpec
from medseg.types import AnyArray, FloatArray
from medseg.volume.geometry import Geometry

CLASSES = 106
SIZE, PATCH = (48, 44, 40), (16, 16, 16)
GRID = Geometry.from_spacing((2.0, 2.0, 2.0), SIZE)
TARGET = grid_at_spacing(GRID, (1.0, 1.0, 1.0))
SPEC = WindowSpec(patch_size=PATCH)


def cells(steepness: float) -> FloatArray:
    """Logits that fall with the squared distance from a point of each class, and noise."""
    rng = np.random.default_rng(0)
    at = np.stack(np.meshgrid(*map(np.arange, SIZE), indexing="ij"), -1).astype(np.float32)
    points = rng.uniform(0, 1, (CLASSES, 3)) * SIZE
    fall = np.stack([-steepness * ((at - point) ** 2).sum(-1) for point in points])
    noise = [gaussian_filter(rng.normal(size=SIZE), 1.5) for _ in range(CLASSES)]
    return (fall + 8 * np.stack(noise)).astype(np.float32)


def smooth_noise(scale: float) -> FloatArray:
    """Logits of unrelated classes."""
    rng = np.random.default_rng(0)
    noise = np.stack([gaussian_filter(rng.normal(size=SIZE), 3) for _ in range(CLASSES)])
    return (noise * scale / noise.std()).astype(np.float32)


class Known:
    """A network that knows the logits of each voxel; its first channel holds the voxel's index."""

    opinions = 1
    activation = "softmax"

    def __init__(self, logits: FloatArray) -> None:
        self.logits = logits.reshape(len(logits), -1)
        doubt = np.random.default_rng(1).uniform(-0.5, 0.5, (CLASSES, *PATCH))
        self.doubt = doubt.astype(np.float32)

    def parts(self, batch: FloatArray, depth: float) -> Iterator[Part]:
        """Evidence of each voxel, with the doubt of its place in the window."""
        values = np.stack([self.logits[:, image[0].astype(int)] + self.doubt for image in batch])
        to_evidence(values, "softmax", depth)
        yield Part(0, values)


def naive(logits: FloatArray, doubt: FloatArray) -> AnyArray:
    total = np.zeros((CLASSES, *SIZE), np.float32)
    along = [window.spans(n, p, SPEC) for n, p in zip(SIZE, PATCH, strict=True)]
    for i in along[0]:
        for j in along[1]:
            for k in along[2]:
                at = tuple(
                    slice(s.start, s.start + p) for s, p in zip((i, j, k), PATCH, strict=True)
                )
                share = np.einsum("i,j,k->ijk", i.weights, j.weights, k.weights)
                total[:, *at] += share * (logits[:, *at] + doubt)
    moved = resample_array(total, GRID, TARGET, interpolation="linear", anti_alias=False)
    return moved.argmax(0)


def mean_dice(found: AnyArray, expected: AnyArray) -> float:
    scores = []
    for n in np.unique(expected):
        a, b = found == n, expected == n
        scores.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    return float(np.mean(scores))


def main() -> None:
    print("| logits | slots | depth | Dice | voxels that differ | s |\n|---|--:|--:|--:|--:|--:|")
    image = np.arange(np.prod(SIZE), dtype=np.float32).reshape(1, *SIZE)
    kinds = {
        "cells, soft": cells(0.02), "cells": cells(0.06), "noise": smooth_noise(10.0),
    }  # fmt: skip
    for name, logits in kinds.items():
        network = Known(logits)
        expected = naive(logits, network.doubt)
        for slots in (4, 6, 8, 12):
            for depth in (7.0, 10.0, 16.0):
                with mock.patch.object(window, "depth_of", return_value=depth):
                    start = time.process_time()
                    top = window.sweep(
                        image, network, SPEC, classes=CLASSES, geometry=GRID, slots=slots
                    )
                    seconds = time.process_time() - start
                found = vote(top, TARGET)
                print(
                    f"| {name} | {slots} | {depth:.0f} | {mean_dice(found, expected):.5f} "
                    f"| {(found != expected).mean():.2%} | {seconds:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
