"""The layers of networks with attention, counted in the order they run."""

from collections.abc import Iterator, Sequence
from math import prod

from medseg.dataset.layers import Grid, Layer, coarser, convolution, up_convolution
from medseg.specs import MedTSpec, SwinUNETRSpec, TransUNetSpec, UNETRSpec


def transunet(spec: TransUNetSpec, grid: Grid) -> Iterator[Layer]:
    """TransUNet: its ResNet, its transformer and its decoder."""
    width, cube, twos = spec.stem_width, 3**spec.dims, (2,) * spec.dims
    half = coarser(grid, twos)
    yield convolution(spec.in_channels, width, 7**spec.dims, half, bias=False)
    # The pool is not padded: one voxel less than half.
    fine, before = tuple(max(1, n // 2 - 1) for n in half), width
    for stage, count in enumerate(spec.units):
        after = 4 * width * 2**stage
        here = fine if stage == 0 else coarser(fine, twos)
        for unit in range(count):
            yield from _bottleneck(before, after, cube, fine, here)
            if unit == 0:
                yield convolution(before, after, 1, here, bias=False)
            fine, before = here, after
    tokens = prod(fine)
    yield convolution(before, spec.token_width, 1, fine, norm=False)
    yield Layer(prod(spec.token_grid) * spec.token_width + 2 * spec.token_width, 0, 0)
    for _ in range(spec.layers):
        yield _transformer_layer(tokens, spec.token_width, spec.mlp_width, spec.heads, stored=False)
    yield convolution(spec.token_width, spec.bridge_width, cube, fine, bias=False)
    before, here = spec.bridge_width, coarser(grid, (16,) * spec.dims)
    for out, skip in zip(spec.decoder_widths, (8 * width, 4 * width, width, 0), strict=True):
        here = tuple(2 * n for n in here)
        yield convolution(before + skip, out, cube, here, bias=False)
        yield convolution(out, out, cube, here, bias=False)
        before = out
    yield convolution(before, spec.classes, cube, grid, norm=False)


def _bottleneck(before: int, after: int, cube: int, fine: Grid, here: Grid) -> Iterator[Layer]:
    middle = after // 4
    yield convolution(before, middle, 1, fine, bias=False)
    yield convolution(middle, middle, cube, here, bias=False)
    yield convolution(middle, after, 1, here, bias=False)


def _transformer_layer(
    tokens: int, width: int, mlp_width: int, heads: int, *, stored: bool, biased: bool = True
) -> Layer:
    """Attention and a perceptron, each behind a normalisation.

    Args:
        tokens: How many there are, all of which see each other.
        width: Channels of a token.
        mlp_width: Channels inside the perceptron.
        heads: Attention heads.
        stored: Whether the weights of the attention stand in memory.
        biased: Whether query, key and value have a bias.
    """
    attention = 4 * width**2 + width + 3 * width * biased
    perceptron = 2 * width * mlp_width + mlp_width + width
    macs = tokens * (4 * width**2 + 2 * width * mlp_width) + 2 * tokens**2 * width
    values = tokens * (5 * width + mlp_width) + tokens**2 * heads * stored
    return Layer(attention + perceptron + 4 * width, macs, values)


def unetr(spec: UNETRSpec, grid: Grid) -> Iterator[Layer]:
    """UNETR as MONAI has it: no bias in query, key, value and the decoder."""
    width, features = spec.token_width, spec.features
    levels = [coarser(grid, (2**n,) * spec.dims) for n in range(5)]
    twos = (2,) * spec.dims
    tokens = prod(levels[4])
    yield convolution(spec.in_channels, width, 16**spec.dims, levels[4], norm=False)
    learned = prod(n // 16 for n in spec.grid)
    yield Layer((learned + 2) * width, 0, 0)
    for _ in range(12):
        yield _transformer_layer(
            tokens, width, spec.mlp_width, spec.heads, stored=True, biased=False
        )
        yield Layer(2 * width * spec.unused_parameters, 0, 0)
    yield from _residual(spec.in_channels, features, levels[0])
    for level in (1, 2, 3):
        out = features * 2**level
        yield up_convolution(width, out, twos, levels[3], bias=False)
        for finer in range(2, level - 1, -1):
            yield up_convolution(out, out, twos, levels[finer], bias=False)
            yield from _residual(out, out, levels[finer])
    before = width
    for level in (3, 2, 1, 0):
        out = features * 2**level
        yield from _risen(before, out, levels[level])
        before = out
    yield convolution(before, spec.classes, 1, grid, norm=False)


def _residual(before: int, width: int, grid: Grid) -> Iterator[Layer]:
    """MONAI's residual block: nothing is learned but the convolutions."""
    cube = 3 ** len(grid)
    yield convolution(before, width, cube, grid, bias=False, norm=False)
    yield convolution(width, width, cube, grid, bias=False, norm=False)
    if before != width:
        yield convolution(before, width, 1, grid, bias=False, norm=False)


def _risen(before: int, width: int, grid: Grid) -> Iterator[Layer]:
    """To a grid twice as fine, where a skip of the same width is joined."""
    yield up_convolution(before, width, (2,) * len(grid), grid, bias=False)
    yield from _residual(2 * width, width, grid)


def swin_unetr(spec: SwinUNETRSpec, grid: Grid) -> Iterator[Layer]:
    """Swin UNETR as MONAI has it."""
    features, twos = spec.features, (2,) * spec.dims
    levels = [coarser(grid, (2**n,) * spec.dims) for n in range(6)]
    yield convolution(spec.in_channels, features, prod(twos), levels[1], norm=False)
    for stage, (depth, heads) in enumerate(zip(spec.depths, spec.heads, strict=True)):
        width, here = features * 2**stage, levels[stage + 1]
        if spec.version == 2:
            yield from _residual(width, width, here)
        for _ in range(depth):
            yield _window_layer(spec, width, heads, here)
        merged = prod(twos) * width
        macs = merged * 2 * width * prod(levels[stage + 2])
        yield Layer(merged * 2 * width + 2 * merged, macs, 2 * width * prod(levels[stage + 2]))
    yield from _residual(spec.in_channels, features, levels[0])
    for level, times in ((1, 1), (2, 2), (3, 4), (5, 16)):
        yield from _residual(times * features, times * features, levels[level])
    before = 16 * features
    for level, times in ((4, 8), (3, 4), (2, 2), (1, 1), (0, 1)):
        yield from _risen(before, times * features, levels[level])
        before = times * features
    yield convolution(before, spec.classes, 1, grid, norm=False)


def _window_layer(spec: SwinUNETRSpec, width: int, heads: int, grid: Grid) -> Layer:
    """Attention in windows, of which the last are filled up, and a perceptron."""
    windows = [min(spec.window, n) for n in grid]
    padded = prod(-(-n // w) * w for n, w in zip(grid, windows, strict=True))
    seen, voxels = prod(windows), prod(grid)
    table = (2 * spec.window - 1) ** spec.dims * heads
    weights = 4 * width**2 + 4 * width + table + 8 * width**2 + 5 * width + 4 * width
    macs = padded * (4 * width**2 + 2 * seen * width) + voxels * 8 * width**2
    values = padded * (4 * width + seen * heads) + voxels * 5 * width
    return Layer(weights, macs, values)


def medt(spec: MedTSpec) -> Iterator[Layer]:
    """MedT and its ablations, on the one grid that they take."""
    finest, parts = 2 * spec.width, spec.local_parts
    yield from _axial_branch(
        spec,
        spec.grid,
        stem_width=spec.width,
        stages=2 if spec.has_local_branch else 4,
        has_positions=True,
        is_gated=spec.is_gated,
    )
    if spec.has_local_branch:
        has_positions = spec.kind != "medt"
        local = _axial_branch(
            spec,
            tuple(n // parts for n in spec.grid),
            stem_width=8 * spec.width,
            stages=4,
            has_positions=has_positions,
            is_gated=False,
        )
        for layer in local:
            times = parts**spec.dims
            yield Layer(layer.weights, times * layer.macs, times * layer.values)
        yield convolution(finest, finest, 3**spec.dims, spec.grid, norm=False)
    yield convolution(finest, spec.classes, 1, spec.grid, norm=False)
    if spec.unused_parameters and spec.has_local_branch:
        yield Layer((finest + 1) * spec.classes, 0, 0)


def _axial_branch(
    spec: MedTSpec,
    grid: Grid,
    *,
    stem_width: int,
    stages: int,
    has_positions: bool,
    is_gated: bool,
) -> Iterator[Layer]:
    cube, twos = 3**spec.dims, (2,) * spec.dims
    here, before = coarser(grid, twos), stem_width
    yield convolution(spec.in_channels, stem_width, 7**spec.dims, here, bias=False)
    yield convolution(stem_width, spec.stem_width, cube, here, bias=False)
    yield convolution(spec.stem_width, stem_width, cube, here, bias=False)
    grids, widths = [], [2 * spec.width * 2**stage for stage in range(stages)]
    for stage, (width, count) in enumerate(zip(widths, spec.blocks, strict=False)):
        for block in range(count):
            out = coarser(here, twos) if block == 0 and stage > 0 else here
            yield convolution(before, width, 1, here, bias=False)
            for length in here:
                yield _axial_attention(
                    width, spec.heads, length, here, has_positions=has_positions, is_gated=is_gated
                )
            yield convolution(width, 2 * width, 1, out, bias=False)
            if out != here or before != 2 * width or (block == 0 and stage > 0):
                yield convolution(before, 2 * width, 1, out, bias=False)
            if spec.unused_parameters and not has_positions:
                yield Layer(width**2 + width, 0, 0)
            here, before = out, 2 * width
        grids.append(here)
    if stages == 4:
        yield convolution(before, before, cube, coarser(here, twos), norm=False)
    for width, finer in zip(reversed(widths), reversed(grids), strict=True):
        yield convolution(2 * width, width, cube, finer, norm=False)


def _axial_attention(
    width: int, heads: int, length: int, grid: Sequence[int], *, has_positions: bool, is_gated: bool
) -> Layer:
    """Attention along one axis, with terms for the distance or without."""
    voxels = prod(grid)
    terms, sources = (3, 2) if has_positions else (1, 1)
    weights = 2 * width**2 + 4 * width + 2 * terms * heads + 2 * sources * width
    if has_positions:
        weights += 2 * width // heads * (2 * length - 1) + 4 * is_gated
    macs = voxels * (2 * width**2 + length * (terms * width // 2 + sources * width))
    values = voxels * (2 * width + sources * width + length * heads * (terms + 1))
    return Layer(weights, macs, values)
