"""What a network costs: weights, multiplications and memory, in closed form.

The planner tries many networks and patches; building each to measure it would need torch and
seconds, counting needs neither.
"""

from collections.abc import Iterator, Sequence

from medseg.dataset.attention_layers import medt, swin_unetr, transunet, unetr
from medseg.dataset.layers import (
    Layer,
    attention_unet,
    lite,
    mednext,
    plain_unet,
    pooled_unet,
    resenc_unet,
)
from medseg.specs import (
    AttentionUNetSpec,
    LiteSpec,
    MedNeXtSpec,
    MedTSpec,
    NetworkSpec,
    PlainUNetSpec,
    ResEncUNetSpec,
    SwinUNETRSpec,
    TransUNetSpec,
    UNet3DSpec,
    UNETRSpec,
    UNetSpec,
)

BYTES_PER_FEATURE = {2: 8.42, 3: 7.67}
"""Memory of a training step on a GPU, in mixed precision, for each value in a feature map.

Weights and moments are in it. Source: nnU-Net v2's default planner, where 8 GiB hold 12 samples of
85 million values in 2D and 2 samples of 560 million values in 3D.
"""

KEPT = {
    "plain_unet": 1.98,
    "unet": 1.55,
    "unet3d": 1.9,
    "attention_unet": 2.65,
    "resenc_unet": 1.97,
    "transunet": 2.8,
    "unetr": 1.7,
    "swin_unetr": 1.4,
    "medt": 1.6,
    "medt_gated": 1.65,
    "medt_axial": 1.2,
    "medt_logo": 1.2,
    "mednext": 1.67,
    "lite": 1.63,
}
"""Values that a training step keeps for the backward pass, for each value of a counted output: what
normalisation, activation and interpolation add. Measured; `BYTES_PER_FEATURE` is for the first."""

SINGLE_PRECISION = 2
"""A CPU keeps each value of a feature map in four bytes where a GPU keeps two."""

BYTES_PER_WEIGHT = 20
"""On a CPU: weight, gradient, two moments and the moving average, four bytes each."""


def layers(spec: NetworkSpec, patch_size: Sequence[int]) -> Iterator[Layer]:
    """The layers of a network, in the order they run.

    Args:
        spec: The network.
        patch_size: Voxels along the axes of the network; a K = 1 that a 2D network does not
            have may be there. A network of one fixed grid is counted on that grid.
    """
    grid = tuple(patch_size[: spec.dims])
    match spec:
        case PlainUNetSpec():
            return plain_unet(spec, grid)
        case UNetSpec() | UNet3DSpec():
            return pooled_unet(spec, grid)
        case AttentionUNetSpec():
            return attention_unet(spec, grid)
        case ResEncUNetSpec():
            return resenc_unet(spec, grid)
        case MedNeXtSpec():
            return mednext(spec, grid)
        case LiteSpec():
            return lite(spec, grid)
        case TransUNetSpec():
            return transunet(spec, grid)
        case UNETRSpec():
            return unetr(spec, spec.grid)
        case SwinUNETRSpec():
            return swin_unetr(spec, grid)
        case MedTSpec():
            return medt(spec)


def parameter_count(spec: NetworkSpec) -> int:
    """How many numbers the network learns."""
    return sum(layer.weights for layer in layers(spec, spec.divisor))


def gmacs(spec: NetworkSpec, patch_size: Sequence[int]) -> float:
    """Billions of multiply-adds of one forward pass of one sample."""
    return sum(layer.macs for layer in layers(spec, patch_size)) / 1e9


def training_gflop(spec: NetworkSpec, patch_size: Sequence[int], batch_size: int) -> float:
    """Billions of floating-point operations of one step: forward once, backward twice that."""
    return 2 * 3 * batch_size * gmacs(spec, patch_size)


def muon_gflop(spec: NetworkSpec) -> float:
    """Billions of floating-point operations that a step of Muon takes, whatever the batch.

    Two products with the whole matrix of each layer, and seventeen of its rows with its rows
    (`medseg.training.muon.orthogonalised`).
    """
    found = [layer for layer in layers(spec, spec.divisor) if layer.rows]
    return sum(4 * one.rows * one.weights + 34 * one.rows**3 for one in found) / 1e9


def feature_values(spec: NetworkSpec, patch_size: Sequence[int]) -> int:
    """Values in all feature maps of one sample, nnU-Net's measure of memory."""
    return sum(layer.values for layer in layers(spec, patch_size))


def training_memory_bytes(
    spec: NetworkSpec, patch_size: Sequence[int], batch_size: int, *, device: str
) -> int:
    """Memory of one training step: feature maps of the batch, and on a CPU the weights beside."""
    kept = KEPT[spec.kind] / KEPT["plain_unet"]
    maps = feature_values(spec, patch_size) * batch_size * BYTES_PER_FEATURE[spec.dims] * kept
    if device == "cuda":
        return round(maps)
    return round(maps * SINGLE_PRECISION) + BYTES_PER_WEIGHT * parameter_count(spec)
