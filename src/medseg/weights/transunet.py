"""Names of TransUNet, and of Google's hybrid vision transformer that it starts from.

The names are those of Beckschen/TransUNet (`networks/vit_seg_modeling.py`, commit ee8acce, 2021),
and of the archives `R50+ViT-B_16.npz` and `R50+ViT-L_16.npz` of google-research/vision_transformer.

Images are rows x columns in both. The archive holds the encoder only, in JAX's layouts: kernels of
convolutions have their axes as (row, column, in, out), those of dense layers as (in, out), and
those of attention a separate axis for the heads. Its first position is that of a class token, which
has no place here.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from medseg.errors import WrongCheckpoint
from medseg.networks.layers import resized
from medseg.specs import TransUNetSpec
from medseg.weights.names import Layout, NameMap, State, numbered, shape_of

ORIGIN, GOOGLE = "Beckschen/TransUNet", "Google's R50+ViT archives"

_HEAD_WIDTH = 64
"""Channels of an attention head of every published vision transformer."""

_LAYER = {
    "attention_norm": "attention_norm",
    "mlp_norm": "ffn_norm",
    "attention.query": "attn.query",
    "attention.key": "attn.key",
    "attention.value": "attn.value",
    "attention.out": "attn.out",
    "widen": "ffn.fc1",
    "narrow": "ffn.fc2",
}

_JAX_LAYER = {
    "attention_norm": "LayerNorm_0",
    "mlp_norm": "LayerNorm_2",
    "attention.query": "MultiHeadDotProductAttention_1/query",
    "attention.key": "MultiHeadDotProductAttention_1/key",
    "attention.value": "MultiHeadDotProductAttention_1/value",
    "attention.out": "MultiHeadDotProductAttention_1/out",
    "widen": "MlpBlock_3/Dense_0",
    "narrow": "MlpBlock_3/Dense_1",
}


def transunet_spec(state: State) -> TransUNetSpec:
    """The network that the authors' tensors tell; its learned positions lie on a square."""
    encoder = "transformer.embeddings.hybrid_model"
    stem = shape_of(state, f"{encoder}.root.conv.weight", ORIGIN)
    positions = shape_of(state, "transformer.embeddings.position_embeddings", ORIGIN)
    widen = shape_of(state, "transformer.encoder.layer.0.ffn.fc1.weight", ORIGIN)
    decoder = [shape_of(state, f"decoder.blocks.{n}.conv1.0.weight", ORIGIN)[0] for n in range(4)]
    units = [numbered(state, rf"{encoder}\.body\.block{n}\.unit(\d+)\.") - 1 for n in (1, 2, 3)]
    return TransUNetSpec(
        dims=2,
        in_channels=stem[1],
        classes=shape_of(state, "segmentation_head.0.weight", ORIGIN)[0],
        grid=(16 * _square(positions[1], ORIGIN),) * 2,
        stem_width=stem[0],
        units=(units[0], units[1], units[2]),
        token_width=widen[1],
        mlp_width=widen[0],
        heads=max(1, widen[1] // _HEAD_WIDTH),
        layers=numbered(state, r"transformer\.encoder\.layer\.(\d+)\."),
        bridge_width=shape_of(state, "decoder.conv_more.0.weight", ORIGIN)[0],
        decoder_widths=(decoder[0], decoder[1], decoder[2], decoder[3]),
    )


def transunet_names(spec: TransUNetSpec, state: State) -> NameMap:
    """Our names and the authors'."""
    embeddings, encoder = "transformer.embeddings", "transformer.encoder"
    modules = {
        "transformer.embedding": f"{embeddings}.patch_embeddings",
        "transformer.positions": f"{embeddings}.position_embeddings",
        "transformer.norm": f"{encoder}.encoder_norm",
        "resnet.stem": f"{embeddings}.hybrid_model.root.conv",
        "resnet.stem_norm": f"{embeddings}.hybrid_model.root.gn",
        "segmentation": "segmentation_head.0",
    }
    modules |= {f"bridge.{n}": f"decoder.conv_more.{n}" for n in range(2)}
    for block in range(4):
        for conv in range(2):
            here, there = f"decoder.{block}.{conv}", f"decoder.blocks.{block}.conv{conv + 1}"
            modules |= {f"{here}.{n}": f"{there}.{n}" for n in range(2)}
    for here, there, has_shortcut in _units(spec):
        theirs = f"{embeddings}.hybrid_model.body.{there.replace('/', '.')}"
        modules |= {f"{here}.conv{n}": f"{theirs}.conv{n}" for n in (1, 2, 3)}
        modules |= {f"{here}.norm{n}": f"{theirs}.gn{n}" for n in (1, 2, 3)}
        if has_shortcut:
            modules[f"{here}.projection.0"] = f"{theirs}.downsample"
            modules[f"{here}.projection.1"] = f"{theirs}.gn_proj"
    for n in range(spec.layers):
        modules |= {
            f"transformer.layers.{n}.{here}": f"{encoder}.layer.{n}.{there}"
            for here, there in _LAYER.items()
        }
    on_grid = partial(positions_on, token_grid=spec.token_grid, origin=ORIGIN)
    return NameMap(modules, layouts={r"position_embeddings$": on_grid})


def google_spec(state: State) -> TransUNetSpec:
    """The paper's network over the encoder of an archive; it has no classes of its own."""
    stem = shape_of(state, "conv_root/kernel", GOOGLE)
    positions = shape_of(state, "Transformer/posembed_input/pos_embedding", GOOGLE)
    layer = "Transformer/encoderblock_0"
    widen = shape_of(state, f"{layer}/MlpBlock_3/Dense_0/kernel", GOOGLE)
    query = shape_of(state, f"{layer}/MultiHeadDotProductAttention_1/query/kernel", GOOGLE)
    units = [numbered(state, rf"block{n}/unit(\d+)/") - 1 for n in (1, 2, 3)]
    return TransUNetSpec(
        dims=2,
        in_channels=stem[2],
        classes=2,
        grid=(16 * _square(positions[1] - 1, GOOGLE),) * 2,
        stem_width=stem[3],
        units=(units[0], units[1], units[2]),
        token_width=widen[0],
        mlp_width=widen[1],
        heads=query[1],
        layers=numbered(state, r"Transformer/encoderblock_(\d+)/"),
    )


def google_names(spec: TransUNetSpec, state: State) -> NameMap:
    """Our names of the encoder and those of an archive; the decoder has none there."""
    modules = {
        "transformer.positions": "Transformer/posembed_input/pos_embedding",
        "resnet.stem.weight": "conv_root/kernel",
        **_weight_and_bias("transformer.embedding", "embedding", "kernel"),
        **_weight_and_bias("transformer.norm", "Transformer/encoder_norm", "scale"),
        **_weight_and_bias("resnet.stem_norm", "gn_root", "scale"),
    }
    for here, there, has_shortcut in _units(spec):
        for n in (1, 2, 3):
            modules[f"{here}.conv{n}.weight"] = f"{there}/conv{n}/kernel"
            modules |= _weight_and_bias(f"{here}.norm{n}", f"{there}/gn{n}", "scale")
        if has_shortcut:
            modules[f"{here}.projection.0.weight"] = f"{there}/conv_proj/kernel"
            modules |= _weight_and_bias(f"{here}.projection.1", f"{there}/gn_proj", "scale")
    for n in range(spec.layers):
        for here, there in _JAX_LAYER.items():
            leaf = "scale" if here.endswith("norm") else "kernel"
            modules |= _weight_and_bias(
                f"transformer.layers.{n}.{here}", f"Transformer/encoderblock_{n}/{there}", leaf
            )
    return NameMap(
        modules,
        absent=("bridge", "decoder", "segmentation"),
        dead=(r"^head/", r"^pre_logits/", r"^cls$"),
        layouts=_jax_layouts(spec),
    )


def positions_on(positions: Tensor, *, token_grid: Sequence[int], origin: str) -> Tensor:
    """Learned positions (1, tokens, width), interpolated where the grid is another one.

    The outermost tokens keep their places, as in the authors' code.

    Raises:
        WrongCheckpoint: If they lie on no square.
    """
    if positions.shape[1] == math.prod(token_grid):
        return positions
    side = _square(positions.shape[1], origin)
    laid = torch.unflatten(positions.float().transpose(1, 2), 2, (side, side))
    return resized(laid, token_grid, align_corners=True).flatten(2).transpose(1, 2)


def _units(spec: TransUNetSpec) -> list[tuple[str, str, bool]]:
    """Our name and theirs of each unit of the ResNet, and whether its shortcut has weights."""
    return [
        (f"resnet.stages.{stage}.{unit}", f"block{stage + 1}/unit{unit + 1}", unit == 0)
        for stage, count in enumerate(spec.units)
        for unit in range(count)
    ]


def _weight_and_bias(ours: str, theirs: str, leaf: str) -> dict[str, str]:
    return {f"{ours}.weight": f"{theirs}/{leaf}", f"{ours}.bias": f"{theirs}/bias"}


def _jax_layouts(spec: TransUNetSpec) -> dict[str, Layout]:
    """JAX's axes to torch's; heads and channels of a head become channels of a token."""
    width = spec.token_width
    without_class = partial(positions_on, token_grid=spec.token_grid, origin=GOOGLE)
    return {
        r"pos_embedding$": lambda tensor: without_class(tensor[:, 1:]),
        r"(conv\w*|embedding)/kernel$": lambda tensor: tensor.permute(3, 2, 0, 1),
        r"Attention_1/out/kernel$": lambda tensor: tensor.reshape(-1, width).T,
        r"Attention_1/\w+/kernel$": lambda tensor: tensor.reshape(width, -1).T,
        r"Dense_\d/kernel$": lambda tensor: tensor.T,
        r"(scale|bias)$": lambda tensor: tensor.flatten(),
    }


def _square(tokens: int, origin: str) -> int:
    side = math.isqrt(max(tokens, 0))
    if side * side != tokens or not side:
        raise WrongCheckpoint(
            f"Learned positions of {origin} lie on a square of tokens.",
            received=f"{tokens} of them",
            cure="Only the published network can be converted, not a variant of it.",
        )
    return side
