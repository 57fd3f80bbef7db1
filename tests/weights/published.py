"""Names and shapes of published checkpoints at small sizes, and random tensors for them.

Written from what the repositories publish, apart from the maps that are tested with it.
"""

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


def random_state(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Scales and variances around 1, all else around 0; of a size that keeps values moderate."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        tensor = torch.randn(shape, generator=generator)
        fan_in = max(1, tensor[0].numel() if tensor.ndim > 1 else 1)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(3)
        elif name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
            state[name] = 1 + 0.2 * tensor.abs()
        else:
            state[name] = tensor * (fan_in**-0.5 if tensor.ndim > 1 else 0.2)
    return state


def conv(
    name: str, out: int, into: int, kernel: int, dims: int = 2, *, bias: bool = True
) -> Shapes:
    shapes: Shapes = {f"{name}.weight": (out, into, *(kernel,) * dims)}
    return shapes | ({f"{name}.bias": (out,)} if bias else {})


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def batch_norm(name: str, width: int) -> Shapes:
    statistics: Shapes = {f"{name}.running_mean": (width,), f"{name}.running_var": (width,)}
    return norm(name, width) | statistics | {f"{name}.num_batches_tracked": ()}


def linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def transunet(*, width: int = 4, tokens: int = 4, hidden: int = 8, classes: int = 3) -> Shapes:
    """Beckschen/TransUNet with units (1, 2, 1), two layers."""
    root = "transformer.embeddings.hybrid_model"
    shapes = conv(f"{root}.root.conv", width, 3, 7, bias=False) | norm(f"{root}.root.gn", width)
    before = width
    for block, units in ((1, 1), (2, 2), (3, 1)):
        out = 2 ** (block + 1) * width
        for unit in range(1, units + 1):
            here = f"{root}.body.block{block}.unit{unit}"
            for n, (o, i, k) in enumerate(
                ((out // 4, before, 1), (out // 4, out // 4, 3), (out, out // 4, 1)), start=1
            ):
                shapes |= norm(f"{here}.gn{n}", o) | conv(f"{here}.conv{n}", o, i, k, bias=False)
            if unit == 1:
                shapes |= conv(f"{here}.downsample", out, before, 1, bias=False)
                shapes |= norm(f"{here}.gn_proj", out)
            before = out
    shapes |= conv("transformer.embeddings.patch_embeddings", hidden, before, 1)
    shapes["transformer.embeddings.position_embeddings"] = (1, tokens, hidden)
    for layer in range(2):
        here = f"transformer.encoder.layer.{layer}"
        shapes |= norm(f"{here}.attention_norm", hidden) | norm(f"{here}.ffn_norm", hidden)
        shapes |= linear(f"{here}.ffn.fc1", 12, hidden) | linear(f"{here}.ffn.fc2", hidden, 12)
        for part in ("query", "key", "value", "out"):
            shapes |= linear(f"{here}.attn.{part}", hidden, hidden)
    shapes |= norm("transformer.encoder.encoder_norm", hidden)
    shapes |= conv("decoder.conv_more.0", 10, hidden, 3, bias=False)
    shapes |= batch_norm("decoder.conv_more.1", 10)
    before = 10
    skips = (8 * width, 4 * width, width, 0)
    for block, (out, skip) in enumerate(zip((8, 6, 4, 2), skips, strict=True)):
        for n, into in ((1, before + skip), (2, out)):
            shapes |= conv(f"decoder.blocks.{block}.conv{n}.0", out, into, 3, bias=False)
            shapes |= batch_norm(f"decoder.blocks.{block}.conv{n}.1", out)
        before = out
    return shapes | conv("segmentation_head.0", classes, before, 3)


def google(*, width: int = 4, side: int = 2, heads: int = 2, head: int = 4) -> Shapes:
    """R50+ViT archive of google-research/vision_transformer with units (1, 2, 1), two layers."""
    hidden = heads * head
    shapes: Shapes = {"conv_root/kernel": (7, 7, 3, width), "cls": (1, 1, hidden)}
    shapes |= {f"gn_root/{leaf}": (1, 1, 1, width) for leaf in ("scale", "bias")}
    before = width
    for block, units in ((1, 1), (2, 2), (3, 1)):
        out = 2 ** (block + 1) * width
        for unit in range(1, units + 1):
            here = f"block{block}/unit{unit}"
            for n, (o, i, k) in enumerate(
                ((out // 4, before, 1), (out // 4, out // 4, 3), (out, out // 4, 1)), start=1
            ):
                shapes[f"{here}/conv{n}/kernel"] = (k, k, i, o)
                shapes |= {f"{here}/gn{n}/{leaf}": (1, 1, 1, o) for leaf in ("scale", "bias")}
            if unit == 1:
                shapes[f"{here}/conv_proj/kernel"] = (1, 1, before, out)
                shapes |= {f"{here}/gn_proj/{leaf}": (1, 1, 1, out) for leaf in ("scale", "bias")}
            before = out
    shapes |= {"embedding/kernel": (1, 1, before, hidden), "embedding/bias": (hidden,)}
    shapes["Transformer/posembed_input/pos_embedding"] = (1, side * side + 1, hidden)
    for layer in range(2):
        here = f"Transformer/encoderblock_{layer}"
        for n in (0, 2):
            shapes |= {f"{here}/LayerNorm_{n}/{leaf}": (hidden,) for leaf in ("scale", "bias")}
        for part in ("query", "key", "value"):
            shapes[f"{here}/MultiHeadDotProductAttention_1/{part}/kernel"] = (hidden, heads, head)
            shapes[f"{here}/MultiHeadDotProductAttention_1/{part}/bias"] = (heads, head)
        shapes[f"{here}/MultiHeadDotProductAttention_1/out/kernel"] = (heads, head, hidden)
        shapes[f"{here}/MultiHeadDotProductAttention_1/out/bias"] = (hidden,)
        for n, (into, out) in enumerate(((hidden, 12), (12, hidden))):
            shapes[f"{here}/MlpBlock_3/Dense_{n}/kernel"] = (into, out)
            shapes[f"{here}/MlpBlock_3/Dense_{n}/bias"] = (out,)
    shapes |= {f"Transformer/encoder_norm/{leaf}": (hidden,) for leaf in ("scale", "bias")}
    return shapes | {"head/kernel": (hidden, 5), "head/bias": (5,)}


def medt(kind: str, *, image: int = 64, stem: int = 12, classes: int = 2) -> Shapes:
    """jeya-maria-jose/Medical-Transformer, width 8, eight heads, blocks (1, 2, 1, 1)."""
    has_local, is_gated = kind in ("medt", "medt_logo"), kind in ("medt", "medt_gated")
    shapes = conv("adjust", classes, 16, 1)
    plain = kind == "medt"
    shapes |= _medt_branch("", 8, 2 if has_local else 4, image, stem, gates=is_gated)
    if has_local:
        shapes |= conv("decoderf", 16, 16, 3) | conv("adjust_p", classes, 16, 1)
        shapes |= _medt_branch("_p", 64, 4, image // 4, stem, gates=False, plain=plain)
    return shapes


def _medt_branch(
    end: str, into: int, stages: int, image: int, stem: int, *, gates: bool, plain: bool = False
) -> Shapes:
    shapes: Shapes = {}
    for n, (o, i, k) in enumerate(((into, 3, 7), (stem, into, 3), (into, stem, 3)), start=1):
        shapes |= conv(f"conv{n}{end}", o, i, k, bias=False) | batch_norm(f"bn{n}{end}", o)
    size = image // 2
    for stage, blocks in enumerate((1, 2, 1, 1)[:stages]):
        width = 16 * 2**stage
        for block in range(blocks):
            here = f"layer{stage + 1}{end}.{block}"
            shapes |= conv(f"{here}.conv_down", width, into, 1, bias=False)
            shapes |= batch_norm(f"{here}.bn1", width) | batch_norm(f"{here}.bn2", 2 * width)
            shapes |= conv(f"{here}.conv_up", 2 * width, width, 1, bias=False)
            if plain:
                shapes |= conv(f"{here}.conv1", width, width, 1)
            for axis in ("hight_block", "width_block"):
                shapes |= _axial(f"{here}.{axis}", width, size, gates=gates, plain=plain)
            if block == 0:
                shapes |= conv(f"{here}.downsample.0", 2 * width, into, 1, bias=False)
                shapes |= batch_norm(f"{here}.downsample.1", 2 * width)
                size = size // 2 if stage else size
            into = 2 * width
    if stages == 4:
        shapes |= conv(f"decoder1{end}", into, into, 3)
    for n, width in enumerate([16 * 2**stage for stage in reversed(range(stages))]):
        shapes |= conv(f"decoder{6 - stages + n}{end}", width, 2 * width, 3)
    return shapes


def _axial(name: str, width: int, length: int, *, gates: bool, plain: bool) -> Shapes:
    terms, sources = (1, 1) if plain else (3, 2)
    shapes: Shapes = {f"{name}.qkv_transform.weight": (2 * width, width, 1)}
    shapes |= batch_norm(f"{name}.bn_qkv", 2 * width)
    shapes |= batch_norm(f"{name}.bn_similarity", 8 * terms)
    shapes |= batch_norm(f"{name}.bn_output", sources * width)
    if not plain:
        shapes[f"{name}.relative"] = (width // 4, 2 * length - 1)
        shapes[f"{name}.flatten_index"] = (length * length,)
    if gates:
        shapes |= {f"{name}.{gate}": () for gate in ("f_qr", "f_kr", "f_sv", "f_sve")}
    return shapes


def attention_gates(*, gated: bool = True, classes: int = 3) -> Shapes:
    """ozan-oktay/Attention-Gated-Networks at a sixteenth of its width."""
    widths, shapes, into = (2, 4, 6, 8, 10), {}, 1
    for name, width in zip(("conv1", "conv2", "conv3", "conv4", "center"), widths, strict=True):
        shapes |= _double(name, width, into)
        into = width
    for n in range(1, 5):
        shapes |= _double(f"up_concat{n}.conv", widths[n - 1], widths[n - 1] + widths[n])
        score = "dsv1" if n == 1 else f"dsv{n}.dsv.0"
        shapes |= conv(score, classes, widths[n - 1], 1, 3)
    shapes |= conv("final", classes, 4 * classes, 1, 3)
    if gated:
        shapes |= conv("gating.conv1.0", 10, 10, 1, 3) | batch_norm("gating.conv1.1", 10)
        for n in (2, 3, 4):
            here, width, signal = f"attentionblock{n}", widths[n - 1], widths[n]
            shapes |= conv(f"{here}.combine_gates.0", width, 2 * width, 1, 3)
            shapes |= batch_norm(f"{here}.combine_gates.1", width)
            for block in ("gate_block_1", "gate_block_2"):
                gate = f"{here}.{block}"
                shapes |= conv(f"{gate}.theta", width, width, 2, 3, bias=False)
                shapes |= conv(f"{gate}.phi", width, signal, 1, 3)
                shapes |= conv(f"{gate}.psi", 1, width, 1, 3)
                shapes |= conv(f"{gate}.W.0", width, width, 1, 3) | batch_norm(f"{gate}.W.1", width)
    return shapes


def _double(name: str, width: int, into: int) -> Shapes:
    shapes: Shapes = {}
    for n, channels in ((1, into), (2, width)):
        shapes |= conv(f"{name}.conv{n}.0", width, channels, 3, 3)
        shapes |= batch_norm(f"{name}.conv{n}.1", width)
    return shapes


def mednext(*, dims: int = 3, supervised: bool = True, kernel: int = 3) -> Shapes:
    """MIC-DKFZ/MedNeXt with four channels and other blocks and ratios in each stage."""
    blocks, ratios = (1, 2, 1, 1, 2, 1, 1, 1, 2), (2, 3, 4, 4, 4, 4, 3, 2, 2)
    shapes = conv("stem", 4, 1, 1, dims) | {"dummy_tensor": (1,)}
    for n in range(4):
        fine, coarse = 4 * 2**n, 8 * 2**n
        for stage, name in ((n, f"enc_block_{n}"), (8 - n, f"dec_block_{n}")):
            for block in range(blocks[stage]):
                shapes |= _block(f"{name}.{block}", fine, fine, ratios[stage], kernel, dims)
        shapes |= _block(f"down_{n}", fine, coarse, ratios[n + 1], kernel, dims)
        shapes |= conv(f"down_{n}.res_conv", coarse, fine, 1, dims)
        shapes |= _block(f"up_{n}", coarse, fine, ratios[8 - n], kernel, dims)
        shapes[f"up_{n}.res_conv.weight"] = (coarse, fine, *(1,) * dims)
        shapes[f"up_{n}.res_conv.bias"] = (fine,)
    for block in range(blocks[4]):
        shapes |= _block(f"bottleneck.{block}", 64, 64, ratios[4], kernel, dims)
    for n in range(5 if supervised else 1):
        shapes[f"out_{n}.conv_out.weight"] = (4 * 2**n, 3, *(1,) * dims)
        shapes[f"out_{n}.conv_out.bias"] = (3,)
    return shapes


def _block(name: str, into: int, out: int, ratio: int, kernel: int, dims: int) -> Shapes:
    shapes = conv(f"{name}.conv1", into, 1, kernel, dims) | norm(f"{name}.norm", into)
    shapes |= conv(f"{name}.conv2", ratio * into, into, 1, dims)
    return shapes | conv(f"{name}.conv3", out, ratio * into, 1, dims)


KERNELS, STRIDES, WIDTHS = ((1, 3, 3), (3, 3, 3), (3, 3, 3)), ((1, 2, 2), (2, 2, 2)), (4, 6, 8)
"""Of the small nnU-Net below, finest stage first; a plain or residual encoder of two channels."""


def nnunet(*, residual: bool, dims: int = 3, classes: int = 3) -> Shapes:
    """dynamic-network-architectures, with the copies that a state dict holds."""
    kernels = [kernel[-dims:] for kernel in KERNELS]
    encoder: Shapes = {}
    before = 2
    if residual:
        encoder |= _named("stem.convs.0", 4, 2, kernels[0])
        before = 4
    for stage, (width, kernel) in enumerate(zip(WIDTHS, kernels, strict=True)):
        for n in range(2):
            into = width if n else before
            if not residual:
                encoder |= _named(f"stages.{stage}.0.convs.{n}", width, into, kernel)
                continue
            block = f"stages.{stage}.blocks.{n}"
            encoder |= _named(f"{block}.conv1", width, into, kernel)
            encoder |= _named(f"{block}.conv2", width, width, kernel)
            if into != width:
                skip = _named(f"{block}.skip.1", width, into, (1,) * dims)
                encoder |= {name: s for name, s in skip.items() if not name.endswith("conv.bias")}
        before = width
    shapes = {f"encoder.{name}": shape for name, shape in encoder.items()}
    shapes |= {f"decoder.encoder.{name}": shape for name, shape in encoder.items()}
    for n, stage in enumerate((1, 0)):
        width, stride = WIDTHS[stage], STRIDES[stage][-dims:]
        shapes[f"decoder.transpconvs.{n}.weight"] = (WIDTHS[stage + 1], width, *stride)
        shapes[f"decoder.transpconvs.{n}.bias"] = (width,)
        shapes |= conv(f"decoder.seg_layers.{n}", classes, width, 1, dims)
        for block in range(1 if residual else 2):
            into = width if block else 2 * width
            name = f"decoder.stages.{n}.convs.{block}"
            shapes |= _named(name, width, into, kernels[stage])
    return shapes


def _named(name: str, out: int, into: int, kernel: tuple[int, ...]) -> Shapes:
    """A block under its names, and again in `all_modules`."""
    weight = (out, into, *kernel)
    shapes: Shapes = {f"{name}.conv.weight": weight, f"{name}.conv.bias": (out,)}
    shapes |= norm(f"{name}.norm", out)
    shapes |= {f"{name}.all_modules.0.weight": weight, f"{name}.all_modules.0.bias": (out,)}
    return shapes | norm(f"{name}.all_modules.1", out)
