"""Logits of many classes to the mask of a finer grid, as a prediction goes: run by volumes.py.

python bench/peers/return_medseg.py logits.bin mask.npy 160 160 120
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medseg.allocator import keep_freed_memory
from medseg.inference.assembly import Stream, assemble
from medseg.inference.elected import elected
from medseg.inference.engine import Activation, Part
from medseg.inference.evidence import to_evidence
from medseg.inference.passage import Passage
from medseg.inference.quality import Expectation
from medseg.inference.window import slabs
from medseg.space.grids import grid_at_spacing
from medseg.specs import WindowSpec
from medseg.types import FloatArray
from medseg.volume.geometry import Geometry

CLASSES, PLANES = 106, 8


class Stored:
    """A network whose logits lie in a file; the image holds the number of each plane."""

    opinions = 1
    activation: Activation = "softmax"

    def __init__(self, file: Path, size: tuple[int, int, int]) -> None:
        self._file, self._plane = file, (CLASSES, *size[1:])

    def parts(self, batch: FloatArray, depth: float) -> Iterator[Part]:
        """Evidence of one plane after the other."""
        (image,) = batch
        count = int(np.prod(self._plane))
        for n, first in enumerate(image[0, :, 0, 0].astype(int)):
            with self._file.open("rb") as stream:
                stream.seek(4 * count * int(first))
                plane = np.fromfile(stream, np.float32, count)
            values = plane.reshape(1, CLASSES, 1, *self._plane[1:])
            to_evidence(values, self.activation, depth)
            yield Part(n, values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logits", type=Path, help="float32 of shape (I, N, J, K)")
    parser.add_argument("mask", type=Path)
    parser.add_argument("size", type=int, nargs=3)
    options = parser.parse_args()
    keep_freed_memory()
    i, j, k = options.size
    grid = Geometry.from_spacing((2.0, 2.0, 2.0), (i, j, k))
    image: FloatArray = np.empty((1, i, j, k), np.float32)
    image[:] = np.arange(i, dtype=np.float32)[:, None, None]
    passage = Passage(0, 3 * PLANES, 1)
    spec = WindowSpec(patch_size=(PLANES, j, k), overlap=0.0)
    found = slabs(
        image, Stored(options.logits, (i, j, k)), spec,
        classes=CLASSES, geometry=grid, passage=passage,
    )  # fmt: skip
    finer = grid_at_spacing(grid, (1.0, 1.0, 1.0))
    stream = Stream(found, grid, passage, finer, Expectation(CLASSES))
    mask = assemble([stream], finer, lambda tops, part: elected(tops, part, (), ()))
    np.save(options.mask, mask)


if __name__ == "__main__":
    main()
