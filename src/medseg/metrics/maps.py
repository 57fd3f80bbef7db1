"""Two label maps as the compiled loops want them, and what is counted and found in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from medseg.metrics.boundary import BorderVoxels, boundary_overlaps
from medseg.metrics.checks import LARGEST_VALUE, as_grid
from medseg.metrics.elements import Measures, contour_lengths, surface_areas
from medseg.metrics.kernels import count, find_borders, find_elements, separate
from medseg.metrics.overlap import Overlap
from medseg.metrics.surface import Surface, SurfaceKind
from medseg.types import IntArray, SpacingMm

SEEN_IN_PREDICTION, SEEN_IN_REFERENCE = 4, 8
"""Bits of the border voxels that were found; `mark_band` uses 1 and 2."""


@dataclass(frozen=True, eq=False)
class Maps:
    """Prediction and reference; `in_order` makes them.

    Attributes:
        predicted: Label values, shape (I, J, K), contiguous and read-only, uint8 or uint16. An axis
            of one voxel is the first.
        reference: The same of the reference.
        spacing_mm: Distance between voxel centres along these axes.
        values: The label value of each structure, from structure 1 on.
        structure_of: Label value -> structure; 0 for all values that are not scored.
    """

    predicted: IntArray
    reference: IntArray
    spacing_mm: SpacingMm
    values: tuple[int, ...]
    structure_of: npt.NDArray[np.int32]

    @property
    def both(self) -> tuple[IntArray, IntArray]:
        """Prediction and reference."""
        return self.predicted, self.reference

    def overlaps(self) -> list[Overlap]:
        """Voxels of each structure."""
        flat = self.predicted.reshape(-1), self.reference.reshape(-1)
        words = _words(flat[0]), _words(flat[1])
        counts = count(*flat, words, self.structure_of, len(self.values))
        return [Overlap(int(p), int(r), int(both)) for p, r, both in counts[1:]]

    def boundaries(self, distance_mm: float) -> list[Overlap]:
        """Voxels of each structure that are near its outside; see `boundary_overlaps`."""
        return boundary_overlaps(
            self.both,
            self._borders,
            seen=self._seen,
            values=self.values,
            spacing_mm=self.spacing_mm,
            distance_mm=distance_mm,
        )

    def surfaces(self, kind: SurfaceKind) -> list[tuple[Surface, Surface]]:
        """Surfaces of each structure in the prediction and in the reference."""
        shape = self.predicted.shape
        if kind == "borders":
            sides = [self._apart(found, shape, None) for found in self._borders]
        else:
            corners = (shape[0] + 1 if shape[0] > 1 else 1, shape[1] + 1, shape[2] + 1)
            measures = self._measures()
            sides = [self._apart(found, corners, measures) for found in self._elements]
        return list(zip(*sides, strict=True))

    @cached_property
    def _elements(self) -> tuple[IntArray, IntArray]:
        return (
            find_elements(self.predicted, self.structure_of),
            find_elements(self.reference, self.structure_of),
        )

    @cached_property
    def _borders(self) -> tuple[BorderVoxels, BorderVoxels]:
        shape = self.predicted.shape
        there, back = self._elements
        return (
            find_borders(there, shape, self._seen, SEEN_IN_PREDICTION),
            find_borders(back, shape, self._seen, SEEN_IN_REFERENCE),
        )

    @cached_property
    def _seen(self) -> npt.NDArray[np.uint8]:
        """Marks of each voxel, flat: memory of which only what lies near a surface is touched."""
        return np.zeros(self.predicted.size, np.uint8)

    def _measures(self) -> Measures:
        """Area of each code, or length where there is one plane, whose bits come twice."""
        if self.predicted.shape[0] > 1:
            return surface_areas(self.spacing_mm)
        lengths = np.zeros(256)
        lengths[np.arange(16) * 17] = contour_lengths(self.spacing_mm[1:])
        return lengths

    def _apart(
        self, found: IntArray, shape: tuple[int, int, int], measures: Measures | None
    ) -> list[Surface]:
        """What was found, by structure in the order of the grid; weighted by its code's measure."""
        if measures is None:
            found = found[np.argsort(found[:, 1])]
        points, codes, begin = separate(found, shape, len(self.values))
        weights = None if measures is None else measures[codes]
        return [
            Surface(points[start:end], None if weights is None else weights[start:end])
            for start, end in pairwise(begin.tolist())
        ]


def in_order(
    predicted: IntArray, reference: IntArray, spacing_mm: SpacingMm, values: Sequence[int]
) -> Maps:
    """Bring two maps into the form that the compiled loops want.

    Axes stay in the order of the memory, so that nothing is copied where nothing must be. The step
    along an axis of one voxel never counts.

    Args:
        predicted: Label values, shape (I, J, K) or (I, J).
        reference: The same of the reference.
        spacing_mm: Distance between voxel centres along each axis.
        values: Which label values are structures.

    Raises:
        EvaluationError: If a map does not hold label values.
    """
    grids = as_grid(predicted), as_grid(reference)
    shape, strides = grids[0].shape, grids[0].strides
    axes = [2, 1, 0] if strides[0] < strides[-1] else [0, 1, 2]
    flat = [axis for axis, size in enumerate(shape) if size == 1][-1:]
    axes = flat + [axis for axis in axes if axis not in flat]
    kind = np.result_type(*grids)
    there, back = (
        _read_only(np.ascontiguousarray(labels.transpose(axes), dtype=kind)) for labels in grids
    )
    a, b, c = (spacing_mm[axis] for axis in axes)
    structure_of = np.zeros(LARGEST_VALUE + 1, np.int32)
    structure_of[list(values)] = np.arange(1, len(values) + 1)
    return Maps(there, back, (max(a, b, c) if flat else a, b, c), tuple(values), structure_of)


def _words(flat: IntArray) -> npt.NDArray[np.uint64]:
    """The beginning of a map as words of eight bytes."""
    words = flat[: flat.nbytes // 8 * 8 // flat.itemsize].view(np.uint64)
    words.flags.writeable = False
    return words


def _read_only(labels: IntArray) -> IntArray:
    """A view that cannot be written: numba compiles for these apart, so all maps are such."""
    view = labels.view()
    view.flags.writeable = False
    return view
