"""The shape of a U-Net that follows from spacing and patch: nnU-Net's published rules.

Source:
    Isensee et al., Nature Methods 18, 2021, supplementary notes 2 and 3; nnU-Net v2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from medseg.specs import PlainUNetSpec

SMALLEST_EDGE = 4
"""Voxels that each axis keeps at the coarsest stage."""

MOST_POOLINGS = {2: 7, 3: 5}
"""Halvings along one axis; a 3D network has at most 6 stages, a 2D network 8."""

MOST_FEATURES = {2: 512, 3: 320}
"""Width that no stage exceeds where the first has `FULL_WIDTH`; less in proportion where it is
narrower."""

FULL_WIDTH = 32
"""Features of nnU-Net's first stage."""

SAME_SCALE = 2.0
"""Axes whose spacings differ by less than this factor are treated alike."""


@dataclass(frozen=True)
class Topology:
    """Kernels and strides of each stage, finest first, and a patch that they divide.

    Attributes:
        kernels: Kernel of each stage along each axis.
        strides: Step into each stage; ones for the first.
        patch_size: The patch, grown to a multiple of `divisor`.
    """

    kernels: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    patch_size: tuple[int, ...]

    @property
    def divisor(self) -> tuple[int, ...]:
        """Voxels along each axis that become one at the coarsest stage."""
        return _divisor(self.strides)


def topology(spacing_mm: Sequence[float], patch_size: Sequence[int]) -> Topology:
    """Halve the finest axes, stage by stage, until the patch is too small.

    An axis is halved while it keeps `SMALLEST_EDGE` voxels and its spacing lies within a factor
    of two of the finest axis that can be halved. Its kernel is 1 until its spacing has come within
    that factor of the finest, then 3. The last stage always has kernels of 3.

    Args:
        spacing_mm: Distance between voxels along each axis of the network.
        patch_size: Voxels along each axis.
    """
    dims = len(spacing_mm)
    spacing, size = [float(s) for s in spacing_mm], [int(n) for n in patch_size]
    halvings, kernel = [0] * dims, [1] * dims
    strides, kernels = [(1,) * dims], []
    while halved := _axes_to_halve(spacing, size, halvings):
        finest = min(spacing)
        kernel = [
            3 if k == 3 or s / finest < SAME_SCALE else 1
            for k, s in zip(kernel, spacing, strict=True)
        ]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in halved else 1 for axis in range(dims)))
        for axis in halved:
            halvings[axis] += 1
            spacing[axis] *= 2
            size[axis] = -(-size[axis] // 2)
    kernels.append((3,) * dims)
    divisor = _divisor(strides)
    grown = tuple(-(-int(n) // d) * d for n, d in zip(patch_size, divisor, strict=True))
    return Topology(tuple(kernels), tuple(strides), grown)


def features(base: int, stages: int, dims: int) -> tuple[int, ...]:
    """Width of each stage: doubled at each halving, up to `MOST_FEATURES`."""
    most = MOST_FEATURES[dims] * min(base, FULL_WIDTH) // FULL_WIDTH
    return tuple(min(base * 2**n, most) for n in range(stages))


def plain_unet(shape: Topology, *, base: int, in_channels: int, classes: int) -> PlainUNetSpec:
    """nnU-Net's network of this shape: two convolutions a stage, logits at every resolution."""
    stages, dims = len(shape.strides), dims_of(shape)
    return PlainUNetSpec(
        dims=dims,
        in_channels=in_channels,
        classes=classes,
        features=features(base, stages, dims),
        kernels=shape.kernels,
        strides=shape.strides,
        encoder_convs=(2,) * stages,
        decoder_convs=(2,) * (stages - 1),
    )


def _axes_to_halve(spacing: list[float], size: list[int], halvings: list[int]) -> list[int]:
    """The axes that the next stage halves; none ends the network."""
    dims = len(size)
    large = [a for a in range(dims) if size[a] >= 2 * SMALLEST_EDGE]
    if not large:
        return []
    finest = min(spacing[a] for a in large)
    chosen = [
        a for a in large if spacing[a] / finest < SAME_SCALE and halvings[a] < MOST_POOLINGS[dims]
    ]
    if len(chosen) == 1 and size[chosen[0]] < 3 * SMALLEST_EDGE:
        return []
    return chosen


def _divisor(strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    divisor = [1] * len(strides[0])
    for step in strides:
        divisor = [d * s for d, s in zip(divisor, step, strict=True)]
    return tuple(divisor)


def dims_of(shape: Topology) -> Literal[2, 3]:
    """Spatial axes of a shape."""
    return 2 if len(shape.patch_size) == 2 else 3
