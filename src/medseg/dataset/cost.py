"""What a network costs: weights, multiplications and memory, in closed form.

The planner tries many networks and patches; building each to measure it would need torch and
seconds, counting needs neither.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from medseg.specs import PlainUNetSpec

BYTES_PER_FEATURE = {2: 8.42, 3: 7.67}
"""Memory of a training step on a GPU, in mixed precision, for each value in a feature map.

Weights and moments are in it. Source: nnU-Net v2's default planner, where 8 GiB hold 12 samples of
85 million values in 2D and 2 samples of 560 million values in 3D.
"""

SINGLE_PRECISION = 2
"""A CPU keeps each value of a feature map in four bytes where a GPU keeps two."""

BYTES_PER_WEIGHT = 20
"""On a CPU: weight, gradient, two moments and the moving average, four bytes each."""


@dataclass(frozen=True)
class Layer:
    """One convolution: what it holds, and how it multiplies.

    Attributes:
        weights: Numbers learned, those of the normalisation behind it included.
        macs: Multiply-adds for one sample.
        values: Values of its output for one sample.
    """

    weights: int
    macs: int
    values: int


def layers(spec: PlainUNetSpec, patch_size: Sequence[int]) -> Iterator[Layer]:
    """The convolutions of a plain U-Net, in the order they run.

    Args:
        spec: The network.
        patch_size: Voxels along the axes of the network; a K = 1 that a 2D network does not
            have may be there.
    """
    grids, grid = [], tuple(patch_size[: spec.dims])
    before = spec.in_channels
    stages = zip(spec.features, spec.kernels, spec.strides, spec.encoder_convs, strict=True)
    for width, kernel, stride, convs in stages:
        grid = tuple(-(-n // step) for n, step in zip(grid, stride, strict=True))
        grids.append(grid)
        yield from _block(before, width, kernel, grid, convs)
        before = width
    for level, convs in zip(_levels(spec), spec.decoder_convs, strict=True):
        width, grid = spec.features[level], grids[level]
        step = prod(spec.strides[level + 1])
        up_macs = before * width * prod(grid)
        yield Layer(before * width * step + width, up_macs, width * prod(grid))
        yield from _block(2 * width, width, spec.kernels[level], grid, convs)
        if level == 0 or spec.deep_supervision:
            macs = width * spec.classes * prod(grid)
            yield Layer((width + 1) * spec.classes, macs, spec.classes * prod(grid))
        before = width


def parameter_count(spec: PlainUNetSpec) -> int:
    """How many numbers the network learns."""
    return sum(layer.weights for layer in layers(spec, (1,) * spec.dims))


def gmacs(spec: PlainUNetSpec, patch_size: Sequence[int]) -> float:
    """Billions of multiply-adds of one forward pass of one sample."""
    return sum(layer.macs for layer in layers(spec, patch_size)) / 1e9


def training_gflop(spec: PlainUNetSpec, patch_size: Sequence[int], batch_size: int) -> float:
    """Billions of floating-point operations of one step: forward once, backward twice that."""
    return 2 * 3 * batch_size * gmacs(spec, patch_size)


def feature_values(spec: PlainUNetSpec, patch_size: Sequence[int]) -> int:
    """Values in all feature maps of one sample, nnU-Net's measure of memory."""
    return sum(layer.values for layer in layers(spec, patch_size))


def training_memory_bytes(
    spec: PlainUNetSpec, patch_size: Sequence[int], batch_size: int, *, device: str
) -> int:
    """Memory of one training step: feature maps of the batch, and on a CPU the weights beside."""
    maps = feature_values(spec, patch_size) * batch_size * BYTES_PER_FEATURE[spec.dims]
    if device == "cuda":
        return round(maps)
    return round(maps * SINGLE_PRECISION) + BYTES_PER_WEIGHT * parameter_count(spec)


def _levels(spec: PlainUNetSpec) -> range:
    return range(len(spec.features) - 2, -1, -1)


def _block(
    before: int, width: int, kernel: Sequence[int], grid: Sequence[int], convs: int
) -> Iterator[Layer]:
    """Convolutions with bias and a normalisation of two numbers a channel."""
    for _ in range(convs):
        taps = before * width * prod(kernel)
        yield Layer(taps + 3 * width, taps * prod(grid), width * prod(grid))
        before = width
