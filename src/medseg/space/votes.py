"""Which class a voxel belongs to, decided on another grid by a trilinear vote of its neighbours.

Interpolating the logits of N classes takes N volumes. Here each voxel keeps its few heaviest
classes only, so the memory does not grow with N, and the vote counts out only the voxels whose
eight neighbours disagree.

The largest interpolated logit is that of the largest interpolated log-probability, since these
differ in each voxel by what is the same for all classes. Where weights are such, a class without a
slot counts as much as the smallest that has one, which is the most that it can have been.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from medseg.errors import InvalidGeometry
from medseg.space.grids import STEP, Mapping
from medseg.space.kernels import add_mixtures, heaviest_class, vote_aligned, vote_rotated
from medseg.types import AnyArray, FloatArray, GridSize, IntArray
from medseg.volume.geometry import Geometry

SLOTS = 8
"""Classes kept for each voxel: at a meeting of organs three to four compete, and on another grid
those of eight neighbours do (bench/slots.py)."""

_VALUES_AT_ONCE = 1 << 16
"""Weights that are compared together: they stay in a core's cache."""

_VOXELS_AT_ONCE = 1 << 16
"""Voxels on which opinions differ that are counted out together."""


class Evidence(NamedTuple):
    """How weights came of logits; see `medseg.inference.evidence`.

    Attributes:
        activation: What would have made probabilities of the logits.
        depth: How many nats below certainty the weight is 0.
    """

    activation: Literal["softmax", "sigmoid"]
    depth: float


@dataclass(frozen=True, eq=False)
class TopClasses:
    """The heaviest classes of each voxel and their weights.

    Attributes:
        classes: Class of each slot, shape (S, I, J, K), uint8 or uint16.
        weights: Its weight, float32, shape (S, I, J, K), not negative; 0 is an empty slot.
        geometry: Where the grid (I, J, K) lies.
        evidence: How the weights came of logits; None where they are probabilities.
        is_dense: Whether each class has a slot, n of class n: then `classes` may be a view that
            repeats one voxel.

    Raises:
        InvalidGeometry: If shapes and types do not fit together.
    """

    classes: IntArray
    weights: FloatArray
    geometry: Geometry
    evidence: Evidence | None = None
    is_dense: bool = False

    def __post_init__(self) -> None:
        shape = self.classes.shape
        fits = len(shape) == 4 and shape[0] > 0 and shape[1:] == self.geometry.grid_size
        types = self.classes.dtype in (np.uint8, np.uint16) and self.weights.dtype == np.float32
        if not fits or self.weights.shape != shape or not types:
            raise InvalidGeometry(
                "Slots hold classes (uint8 or uint16) and weights (float32) of one shape "
                "(S, I, J, K).",
                received=f"{self.classes.dtype} {shape}, {self.weights.dtype} "
                f"{self.weights.shape}, grid {self.geometry.grid_size}",
            )
        if self.is_dense and any(n != number for n, number in enumerate(self.classes[:, 0, 0, 0])):
            raise InvalidGeometry(
                "Where each class has a slot, slot n holds class n.",
                received=f"classes {self.classes[:, 0, 0, 0].tolist()}",
            )

    @classmethod
    def empty(
        cls,
        count: int,
        geometry: Geometry,
        *,
        slots: int = SLOTS,
        evidence: Evidence | None = None,
    ) -> "TopClasses":
        """Slots for `count` classes without any weight yet, to be filled by `kernels.add_window`.

        With at most `slots` classes there is a slot for each, and slot n is class n.
        """
        kept = min(count, slots)
        kind = np.uint8 if count <= 256 else np.uint16
        shape, is_dense = (kept, *geometry.grid_size), count <= slots
        numbers: IntArray = np.empty((kept, 1, 1, 1), kind)
        numbers[:, 0, 0, 0] = range(kept)
        classes = np.broadcast_to(numbers, shape) if is_dense else np.zeros(shape, kind)
        return cls(classes, np.zeros(shape, np.float32), geometry, evidence, is_dense)

    def cropped(self, start: GridSize, size: GridSize) -> "TopClasses":
        """The part inside a box, without a copy."""
        i, j, k = (slice(s, s + n) for s, n in zip(start, size, strict=True))
        return replace(
            self,
            classes=self.classes[:, i, j, k],
            weights=self.weights[:, i, j, k],
            geometry=self.geometry.cropped(start, size),
        )

    def contiguous(self) -> "TopClasses":
        """The same in one piece of memory, for which the loops are compiled."""
        classes = self.classes if self.is_dense else np.ascontiguousarray(self.classes)
        return replace(self, classes=classes, weights=np.ascontiguousarray(self.weights))


def vote(top: TopClasses, target: Geometry) -> IntArray:
    """The class of the largest trilinearly interpolated weight at each voxel of `target`.

    Equal to the arg-max of all classes' interpolated weights, or logits, if there is a slot for
    each class; of equals the smaller class wins. Between the outermost voxel centres and their
    outer faces the weights are those of the nearest centres.

    Args:
        top: The heaviest classes on their grid.
        target: Any grid. The same one gives the plain arg-max.

    Returns:
        Class indices of the type of `top.classes`, shape (I, J, K) of `target`; 0 outside.
    """
    first = heaviest(top)
    if target.same_space(top.geometry):
        return np.asarray(first)
    relative = top.evidence is not None and top.evidence.activation == "softmax"
    mapping = Mapping(top.geometry, target)
    classes = np.ascontiguousarray(top.classes)
    return elect(first, classes, top.weights, mapping, relative=relative)


def heaviest(top: TopClasses) -> IntArray:
    """The class of the largest weight of each voxel, the smaller one of equals; (I, J, K)."""
    if not top.is_dense:
        return np.asarray(heaviest_class(top.classes, top.weights))
    best: IntArray = np.empty(top.geometry.grid_size, top.classes.dtype)
    planes = max(1, _VALUES_AT_ONCE // (top.weights[:, 0].size or 1))
    for start in range(0, len(best), planes):
        best[start : start + planes] = largest_slot(top.weights[:, start : start + planes])
    return best


def largest_slot(weights: FloatArray) -> npt.NDArray[np.uint8]:
    """The slot of the largest weight, the first one of equals.

    In numpy: few slots are gone through faster than a compiler is loaded (bench/startup.py).

    Args:
        weights: Not negative, shape (S, ...), of up to 256 slots.

    Returns:
        Shape (...).
    """
    most, best = weights[0].copy(), np.zeros(weights.shape[1:], np.uint8)
    for slot in range(1, len(weights)):
        above = weights[slot] > most
        np.maximum(best, above * np.uint8(slot), out=best)  # a later slot has a larger number
        np.maximum(most, weights[slot], out=most)
    return best


def vote_together(tops: Sequence[TopClasses], target: Geometry) -> IntArray:
    """The class of the largest sum of interpolated weights, of several opinions on any grids.

    Where all of them elect one class alone, their sum elects it too; only the other voxels are
    counted out. No sum of classes x voxels is made, so memory grows neither with the classes nor,
    beyond the opinions themselves, with their number.

    Args:
        tops: What each says, on its own grid: several of them say probabilities. Outside of its
            grid, each says background with weight 1.
        target: Any grid.

    Returns:
        Class indices, shape (I, J, K) of `target`. One opinion gives the same as `vote`.
    """
    first, *others = (vote(top, target) for top in tops)
    if not others:
        return first
    tops = [replace(top, classes=np.ascontiguousarray(top.classes)) for top in tops]
    differs: AnyArray = np.zeros(first.shape, np.bool_)
    for other in others:
        differs |= other != first
    for part in np.array_split(np.argwhere(differs), max(1, int(differs.sum()) // _VOXELS_AT_ONCE)):
        first[tuple(part.T)] = _heaviest_sum(tops, target, part)
    return first


def _heaviest_sum(tops: Sequence[TopClasses], target: Geometry, voxels: IntArray) -> IntArray:
    """The class of the largest summed weight of a few voxels (n, 3); the smaller one of equals."""
    most = 8 * sum(top.classes.shape[0] for top in tops)
    sums, found = np.zeros((len(voxels), most)), np.zeros((len(voxels), most), np.int64)
    counts = np.zeros(len(voxels), np.int64)
    for top in tops:
        matrix = Mapping(top.geometry, target).matrix
        add_mixtures(voxels, top.classes, top.weights, matrix, STEP, sums, found, counts)
    heaviest = sums == sums.max(axis=1, keepdims=True)
    return np.asarray(np.where(heaviest, found, np.iinfo(np.int64).max).min(axis=1))


def elect(
    first: IntArray,
    classes: IntArray,
    weights: FloatArray | None,
    mapping: Mapping,
    *,
    relative: bool = False,
) -> IntArray:
    """Vote on the target grid of `mapping`; for a label map `weights` is None.

    Args:
        first: Label or heaviest class of each voxel, shape (I, J, K).
        classes: Shape (S, I, J, K); for a label map `first[None]`.
        weights: Shape (S, I, J, K), or None: each voxel gives its whole weight to its label, and
            of equals the label that lies further to the right, then anterior, then superior wins.
        mapping: From the target to the grid of these arrays.
        relative: Whether the weights of a voxel count from its smallest one up.

    Returns:
        Classes in the type of `first`, in the shape of the target; 0 outside the source.
    """
    corners = _corners(mapping)
    if not mapping.is_aligned:
        out: AnyArray = np.empty(mapping.target.grid_size, first.dtype)
        vote_rotated(first, classes, weights, relative, mapping.matrix, STEP, corners, out)
        return out
    tables = [_neighbours(mapping, axis) for axis in range(3)]
    lows, parts = zip(*tables, strict=True)
    out = np.empty(mapping.aligned_size, first.dtype)
    vote_aligned(first, classes, weights, relative, lows, parts, corners, out)
    return np.asarray(out.transpose(np.argsort(mapping.partners)))


def _neighbours(mapping: Mapping, axis: int) -> tuple[IntArray, FloatArray]:
    """Lower neighbour, -1 outside, and share of the upper one, for each voxel along an axis."""
    size = mapping.source.grid_size[axis]
    at = np.clip(mapping.positions(axis, STEP), 0, size - 1)
    low = np.minimum(at.astype(np.int64), max(size - 2, 0))
    return np.where(mapping.inside(axis), low, -1), at - low


def _corners(mapping: Mapping) -> AnyArray:
    """Whether each of eight corners takes the upper neighbour along I, J, K of the source.

    Ordered from the R, A, S end to the L, P, I end, whichever way the axes run, shape (8, 3).
    """
    corners = np.empty((8, 3), np.bool_)
    for n, towards_lpi in enumerate(product((False, True), repeat=3)):
        for axis, away in zip(mapping.source.axis_order, towards_lpi, strict=True):
            corners[n, axis] = mapping.upwards[axis] != away
    return corners
