"""Names of MONAI's UNETR and SwinUNETR, and of the self-supervised encoder of the latter.

The names are those of MONAI 0.7 to 1.6. Our two networks hold MONAI's classes, so most names are
the same behind `body.`. What differs between releases:

* UNETR: up to 0.9 the embedding of patches was linear by default (`patch_embeddings.1`); it is a
  convolution whose kernel is a patch. A class token and normalisations of cross attention lie in
  some files; UNETR uses neither.
* SwinUNETR: releases before 1.5 merged patches from six of the eight voxels of a cube, two of them
  twice. Names and shapes are the same, so a file does not tell; such weights give other values.
* The self-supervised encoder (`model_swinvit.pt`) names the layers of perceptrons `fc1` and `fc2`.

Axes are those of the arrays that MONAI's transforms gave: I, J, K.
"""

import math
from functools import partial

import torch
from torch import Tensor

from medseg.errors import WrongCheckpoint
from medseg.specs import SwinUNETRSpec, UNETRSpec
from medseg.weights.names import NameMap, State, numbered, shape_of

ORIGIN, SWIN_VIT = "MONAI", "MONAI's self-supervised SwinViT"

_HEAD_WIDTH, _PATCH = 64, 16
"""Channels of an attention head of the paper's UNETR, and edge of its patches."""

_CLASSIFIER = "out.conv.conv.weight"


def unetr_spec(state: State) -> UNETRSpec:
    """The network that MONAI's tensors tell.

    Heads are not told: they are 64 channels wide, as in the paper. Positions lie on a cube or a
    square.
    """
    first = shape_of(state, "encoder1.layer.conv1.conv.weight", ORIGIN)
    positions = shape_of(state, "vit.patch_embedding.position_embeddings", ORIGIN)
    widen = shape_of(state, "vit.blocks.0.mlp.linear1.weight", ORIGIN)
    dims = len(first) - 2
    side = round(positions[1] ** (1 / dims))
    if side**dims != positions[1]:
        raise WrongCheckpoint(
            "Learned positions of a UNETR lie on a cube or a square of tokens.",
            received=f"{positions[1]} of them",
            cure="Only networks for images with axes of one length can be converted.",
        )
    return UNETRSpec(
        dims=3 if dims == 3 else 2,
        in_channels=first[1],
        classes=shape_of(state, _CLASSIFIER, ORIGIN)[0],
        grid=(_PATCH * side,) * dims,
        features=first[0],
        token_width=widen[1],
        mlp_width=widen[0],
        heads=max(1, widen[1] // _HEAD_WIDTH),
    )


def unetr_names(spec: UNETRSpec, state: State) -> NameMap:
    """Our names and MONAI's."""
    embedding = "vit.patch_embedding.patch_embeddings"
    modules = {"body": "", "segmentation": "out"}
    layouts = {}
    if f"{embedding}.1.weight" in state:
        modules[f"body.{embedding}"] = f"{embedding}.1"
        kernel = (*(_PATCH,) * spec.dims, spec.in_channels)
        layouts[r"patch_embeddings\.1\.weight$"] = partial(_as_convolution, kernel=kernel)
    dead = (r"\.norm_cross_attn\.", r"\.cross_attn\.", r"\.cls_token$")
    return NameMap(modules, dead=dead, layouts=layouts)


def swin_spec(state: State) -> SwinUNETRSpec:
    """The network that MONAI's tensors tell."""
    return _swin(state, "swinViT.", shape_of(state, _CLASSIFIER, ORIGIN)[0], ORIGIN)


def swin_names(spec: SwinUNETRSpec, state: State) -> NameMap:
    """Our names and MONAI's."""
    return NameMap({"body": "", "segmentation": "out"})


def swin_vit_spec(state: State) -> SwinUNETRSpec:
    """The paper's network over a self-supervised encoder, which has no classes of its own."""
    return _swin(state, "", 2, SWIN_VIT)


def swin_vit_names(spec: SwinUNETRSpec, state: State) -> NameMap:
    """Our names of the encoder and those of the self-supervised one."""
    modules = {"body.swinViT": ""}
    for stage, depth in enumerate(spec.depths, start=1):
        for block in range(depth):
            theirs = f"layers{stage}.0.blocks.{block}.mlp"
            for n in (1, 2):
                if f"{theirs}.fc{n}.weight" in state:
                    modules[f"body.swinViT.{theirs}.linear{n}"] = f"{theirs}.fc{n}"
    decoder = [*(f"encoder{n}" for n in (1, 2, 3, 4, 10)), *(f"decoder{n}" for n in range(1, 6))]
    return NameMap(
        modules,
        absent=("segmentation", *(f"body.{name}" for name in decoder)),
        dead=(r"^(rotation|contrastive|convTrans3d|norm\b|rotation_pre|contrastive_pre)",),
    )


def _swin(state: State, prefix: str, classes: int, origin: str) -> SwinUNETRSpec:
    embedding = shape_of(state, f"{prefix}patch_embed.proj.weight", origin)
    dims = len(embedding) - 2
    depths, heads, places = [], [], 0
    for stage in range(1, 5):
        blocks = rf"{prefix}layers{stage}\.0\.blocks\.(\d+)\.".replace("swinViT.", r"swinViT\.")
        depths.append(numbered(state, blocks))
        table = f"{prefix}layers{stage}.0.blocks.0.attn.relative_position_bias_table"
        places, count = shape_of(state, table, origin)
        heads.append(count)
    return SwinUNETRSpec(
        dims=3 if dims == 3 else 2,
        in_channels=embedding[1],
        classes=classes,
        features=embedding[0],
        depths=(depths[0], depths[1], depths[2], depths[3]),
        heads=(heads[0], heads[1], heads[2], heads[3]),
        window=(round(places ** (1 / dims)) + 1) // 2,
        version=2 if any(name.startswith(f"{prefix}layers1c.") for name in state) else 1,
    )


def _as_convolution(weight: Tensor, *, kernel: tuple[int, ...]) -> Tensor:
    """A linear layer over the flattened voxels of a patch, channels last, as a convolution."""
    if weight.ndim != 2 or weight.shape[1] != math.prod(kernel):
        return weight
    return torch.unflatten(weight, 1, kernel).movedim(-1, 1)
