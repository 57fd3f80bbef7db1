"""The layers of convolutional networks, counted in the order they run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from medseg.specs import (
    AttentionUNetSpec,
    LiteSpec,
    MedNeXtSpec,
    PlainUNetSpec,
    ResEncUNetSpec,
    UNet3DSpec,
    UNetSpec,
)

Grid = tuple[int, ...]
"""Voxels along each axis of a network."""


@dataclass(frozen=True)
class Layer:
    """A convolution, or what else holds weights.

    Attributes:
        weights: Numbers learned, those of the normalisation behind it included.
        macs: Multiply-adds for one sample.
        values: Values of its output for one sample.
        rows: Shorter side of its weights as a matrix, where they are one that Muon moves (see
            `medseg.training.muon`); 0 where AdamW does.
    """

    weights: int
    macs: int
    values: int
    rows: int = 0


def convolution(
    before: int,
    width: int,
    kernel: int,
    grid: Grid,
    *,
    bias: bool = True,
    norm: bool = True,
    groups: int = 1,
) -> Layer:
    """A convolution to a grid, with the scale and shift of a normalisation behind it.

    Args:
        before: Channels that come in.
        width: Channels that go out.
        kernel: Voxels of the kernel.
        grid: Voxels that come out.
        bias: Whether it adds a number to each channel.
        norm: Whether a normalisation with two numbers a channel follows.
        groups: Parts of the channels that do not see each other.
    """
    seen = before // groups
    taps = seen * width * kernel
    rows = min(width, seen * kernel) if kernel > 1 and seen > 1 else 0
    return Layer(taps + width * (bias + 2 * norm), taps * prod(grid), width * prod(grid), rows)


def up_convolution(
    before: int, width: int, step: Sequence[int], grid: Grid, *, bias: bool = True
) -> Layer:
    """A transposed convolution to a grid that is `step` times finer; its kernel is its stride."""
    weights = before * width * prod(step) + width * bias
    rows = min(before, width * prod(step)) if prod(step) > 1 else 0
    return Layer(weights, before * width * prod(grid), width * prod(grid), rows)


def coarser(grid: Grid, step: Sequence[int]) -> Grid:
    """The grid behind a stride; what it does not divide is rounded up."""
    return tuple(-(-n // s) for n, s in zip(grid, step, strict=True))


def grids_of(grid: Grid, strides: Sequence[Sequence[int]]) -> list[Grid]:
    """The grid of each stage, finest first."""
    grids = []
    for step in strides:
        grid = coarser(grid, step)
        grids.append(grid)
    return grids


def plain_unet(spec: PlainUNetSpec, grid: Grid) -> Iterator[Layer]:
    """nnU-Net's plain U-Net."""
    grids, before = grids_of(grid, spec.strides), spec.in_channels
    for level, width in enumerate(spec.features):
        kernel = prod(spec.kernels[level])
        for _ in range(spec.encoder_convs[level]):
            yield convolution(before, width, kernel, grids[level])
            before = width
    yield from _supervised_decoder(spec, grids)


def resenc_unet(spec: ResEncUNetSpec, grid: Grid) -> Iterator[Layer]:
    """nnU-Net with a residual encoder."""
    grids, before = grids_of(grid, spec.strides), spec.features[0]
    yield convolution(spec.in_channels, before, prod(spec.kernels[0]), grids[0])
    for level, width in enumerate(spec.features):
        kernel = prod(spec.kernels[level])
        for _ in range(spec.encoder_blocks[level]):
            yield convolution(before, width, kernel, grids[level])
            yield convolution(width, width, kernel, grids[level])
            if before != width:
                yield convolution(before, width, 1, grids[level], bias=False)
            before = width
    yield from _supervised_decoder(spec, grids)


def _supervised_decoder(
    spec: PlainUNetSpec | ResEncUNetSpec, grids: Sequence[Grid]
) -> Iterator[Layer]:
    levels = range(len(spec.features) - 2, -1, -1)
    for level, convs in zip(levels, spec.decoder_convs, strict=True):
        width, grid = spec.features[level], grids[level]
        yield up_convolution(spec.features[level + 1], width, spec.strides[level + 1], grid)
        for n in range(convs):
            before = width if n else 2 * width
            yield convolution(before, width, prod(spec.kernels[level]), grid)
        if level == 0 or spec.deep_supervision:
            yield convolution(width, spec.classes, 1, grid, norm=False)


def pooled_unet(spec: UNetSpec | UNet3DSpec, grid: Grid) -> Iterator[Layer]:
    """The U-Nets of 2015 and 2016, padded or not."""
    is_3d_unet, kernel = isinstance(spec, UNet3DSpec), 3**spec.dims
    lost = 0 if spec.keeps_grid else 2

    def double(before: int, middle: int, width: int) -> Iterator[Layer]:
        nonlocal grid
        for came, goes in ((before, middle), (middle, width)):
            # A grid of one voxel stands for no image at all where only weights are counted.
            grid = tuple(max(1, n - lost) for n in grid)
            yield convolution(came, goes, kernel, grid, norm=is_3d_unet)

    before = spec.in_channels
    for width, step in zip(spec.features, spec.strides, strict=True):
        grid = coarser(grid, step)
        yield from double(before, width // 2 if is_3d_unet else width, width)
        before = width
    for level in range(len(spec.features) - 2, -1, -1):
        width, step = spec.features[level], spec.strides[level + 1]
        grid = tuple(n * s for n, s in zip(grid, step, strict=True))
        raised = before if is_3d_unet else width
        yield up_convolution(before, raised, step, grid)
        yield from double(raised + width, width, width)
        before = width
    yield convolution(before, spec.classes, 1, grid, norm=False)


def attention_unet(spec: AttentionUNetSpec, grid: Grid) -> Iterator[Layer]:
    """The Attention U-Net with two gates a skip."""
    kernel, widths, classes = 3**spec.dims, spec.features, spec.classes
    grids, coarsest = grids_of(grid, spec.strides), len(spec.features) - 1
    for level, (before, width) in enumerate(pairwise((spec.in_channels, *widths))):
        yield convolution(before, width, kernel, grids[level])
        yield convolution(width, width, kernel, grids[level])
    if spec.is_gated and coarsest > 1:
        yield convolution(widths[-1], widths[-1], 1, grids[-1])
    for level in range(coarsest - 1, -1, -1):
        width, fine = widths[level], grids[level]
        if spec.is_gated and level > 0:
            yield from _double_gate(spec, level, grids)
        yield convolution(widths[level + 1] + width, width, kernel, fine)
        yield convolution(width, width, kernel, fine)
        yield convolution(width, classes, 1, fine, norm=False)
    yield convolution(coarsest * classes, classes, 1, grid, norm=False)


def _double_gate(spec: AttentionUNetSpec, level: int, grids: Sequence[Grid]) -> Iterator[Layer]:
    width, signal_width = spec.features[level], spec.features[level + 1]
    fine, coarse = grids[level], grids[level + 1]
    for _ in range(2):
        taps = prod(spec.strides[level + 1])
        yield convolution(width, width, taps, coarse, bias=False, norm=False)
        yield convolution(signal_width, width, 1, coarse, norm=False)
        yield convolution(width, 1, 1, coarse, norm=False)
        yield convolution(width, width, 1, fine)
    yield convolution(2 * width, width, 1, fine)


def lite(spec: LiteSpec, grid: Grid) -> Iterator[Layer]:
    """Our network for real time, in the form that learns."""
    grids, before = grids_of(grid, spec.strides), spec.in_channels
    for level, width in enumerate(spec.features[1:], start=1):
        for _ in range(spec.encoder_convs[level - 1]):
            kernel = prod(spec.kernels[level - 1])
            yield convolution(before, width, kernel, grids[level], bias=False)
            before = width
    for level in range(len(spec.features) - 2, -1, -1):
        width, here = spec.features[level], grids[level]
        yield up_convolution(spec.features[level + 1], width, spec.strides[level + 1], here)
        if level > 0:
            yield convolution(width, width, prod(spec.kernels[level - 1]), here, bias=False)
        if level == 0 or spec.deep_supervision:
            yield convolution(width, spec.classes, 1, here, norm=False)


def mednext(spec: MedNeXtSpec, grid: Grid) -> Iterator[Layer]:
    """MedNeXt: the multiplications of depthwise convolutions are few, and slow on a CPU."""
    levels = len(spec.strides)
    widths = [spec.width * 2**level for level in range(levels + 1)]
    grids = grids_of(grid, ((1,) * spec.dims, *spec.strides))
    yield convolution(spec.in_channels, widths[0], 1, grids[0], norm=False)
    for stage, count in enumerate(spec.blocks):
        level = stage if stage <= levels else 2 * levels - stage
        expansion, width, here = spec.expansions[stage], widths[level], grids[level]
        if stage > levels:
            yield from _mednext_up(spec, 2 * width, width, expansion, grids[level + 1], here)
        for _ in range(count):
            yield from _mednext_block(spec, width, width, expansion, here)
        if stage < levels:
            down, coarse = spec.expansions[stage + 1], grids[level + 1]
            yield from _mednext_block(spec, width, 2 * width, down, coarse)
            yield convolution(width, 2 * width, 1, coarse, norm=False)
    supervised = range(levels + 1) if spec.deep_supervision else range(1)
    for level in supervised:
        yield convolution(widths[level], spec.classes, 1, grids[level], norm=False)
    yield Layer(int(spec.unused_parameters), 0, 0)


def _mednext_block(
    spec: MedNeXtSpec, before: int, width: int, expansion: int, grid: Grid
) -> Iterator[Layer]:
    inside = expansion * before
    yield convolution(before, before, spec.kernel**spec.dims, grid, groups=before)
    yield convolution(before, inside, 1, grid, norm=False)
    yield convolution(inside, width, 1, grid, norm=False)


def _mednext_up(
    spec: MedNeXtSpec, before: int, width: int, expansion: int, coarse: Grid, fine: Grid
) -> Iterator[Layer]:
    """Transposed convolutions multiply each coarse voxel, and give one plane less than `fine`."""
    given = tuple(n if n == c else n - 1 for n, c in zip(fine, coarse, strict=True))
    depthwise = convolution(before, before, spec.kernel**spec.dims, coarse, groups=before)
    yield Layer(depthwise.weights, depthwise.macs, before * prod(given))
    inside = expansion * before
    yield convolution(before, inside, 1, given, norm=False)
    yield convolution(inside, width, 1, given, norm=False)
    shortcut = convolution(before, width, 1, coarse, norm=False)
    yield Layer(shortcut.weights, shortcut.macs, width * prod(given))
