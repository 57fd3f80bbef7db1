"""What published networks compute from their tensors, in a few lines each, by the papers' words."""

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]


def convolved(state: State, name: str, x: Tensor, stride=1, padding=None, groups=1) -> Tensor:
    weight = state[f"{name}.weight"]
    run = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[weight.ndim]
    padding = tuple(k // 2 for k in weight.shape[2:]) if padding is None else padding
    return run(x, weight, state.get(f"{name}.bias"), stride, padding, 1, groups)


def batch_normed(state: State, name: str, x: Tensor) -> Tensor:
    keys = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys))


def resized(x: Tensor, factor: int, *, corners: bool) -> Tensor:
    mode = "bilinear" if x.ndim == 4 else "trilinear"
    return F.interpolate(x, scale_factor=factor, mode=mode, align_corners=corners)


def transunet(state: State, x: Tensor, *, groups: int, heads: int) -> Tensor:
    def standard(name, x, stride=1):
        w = state[f"{name}.weight"]
        mean, var = w.mean((1, 2, 3), keepdim=True), w.var((1, 2, 3), correction=0, keepdim=True)
        return F.conv2d(x, (w - mean) / (var + 1e-5).sqrt(), None, stride, w.shape[-1] // 2)

    def grouped(name, x, groups=groups, eps=1e-6):
        return F.group_norm(x, groups, state[f"{name}.weight"], state[f"{name}.bias"], eps)

    def layered(name, x):
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, 1e-6)

    def dense(name, x):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    root, size = "transformer.embeddings.hybrid_model", x.shape[-1]
    x = F.relu(grouped(f"{root}.root.gn", standard(f"{root}.root.conv", x, 2)))
    skips, x = [x], F.max_pool2d(x, 3, 2)
    for block, units in ((1, 1), (2, 2), (3, 1)):
        for unit in range(1, units + 1):
            here = f"{root}.body.block{block}.unit{unit}"
            stride = 2 if block > 1 and unit == 1 else 1
            y = F.relu(grouped(f"{here}.gn1", standard(f"{here}.conv1", x)))
            y = F.relu(grouped(f"{here}.gn2", standard(f"{here}.conv2", y, stride)))
            y = grouped(f"{here}.gn3", standard(f"{here}.conv3", y))
            if unit == 1:
                x = standard(f"{here}.downsample", x, stride)
                x = grouped(f"{here}.gn_proj", x, x.shape[1], 1e-5)
            x = F.relu(x + y)
        if block < 3:
            missing = size // (4 * block) - x.shape[-1]
            skips.insert(0, F.pad(x, (0, missing, 0, missing)))
    side = x.shape[-1]
    x = convolved(state, "transformer.embeddings.patch_embeddings", x).flatten(2).transpose(1, 2)
    x = x + state["transformer.embeddings.position_embeddings"]
    for layer in range(2):
        here = f"transformer.encoder.layer.{layer}"
        y = layered(f"{here}.attention_norm", x)
        q, k, v = (
            dense(f"{here}.attn.{part}", y).unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        x = x + dense(f"{here}.attn.out", (weights @ v).transpose(1, 2).flatten(2))
        y = dense(f"{here}.ffn.fc1", layered(f"{here}.ffn_norm", x))
        x = x + dense(f"{here}.ffn.fc2", F.gelu(y))
    x = layered("transformer.encoder.encoder_norm", x).transpose(1, 2).unflatten(2, (side, side))

    def step(name, x):
        return F.relu(batch_normed(state, f"{name}.1", convolved(state, f"{name}.0", x)))

    x = step("decoder.conv_more", x)
    for block in range(4):
        x = resized(x, 2, corners=True)
        x = torch.cat((x, skips[block]), 1) if block < 3 else x
        x = step(f"decoder.blocks.{block}.conv2", step(f"decoder.blocks.{block}.conv1", x))
    return convolved(state, "segmentation_head.0", x)


def axial(state: State, name: str, x: Tensor, axis: int) -> Tensor:
    """Each line along an axis (2: rows, 3: columns) attends to itself."""
    lines = x.movedim(axis, -1).movedim(1, -2)
    y = F.conv1d(lines.flatten(0, 1), state[f"{name}.qkv_transform.weight"])
    y = batch_normed(state, f"{name}.bn_qkv", y).unflatten(1, (8, -1))
    half = y.shape[2] // 4
    q, k, v = y[:, :, :half], y[:, :, half : 2 * half], y[:, :, 2 * half :]
    similarity = torch.einsum("bgci,bgcj->bgij", q, k)
    if f"{name}.relative" not in state:
        weights = batch_normed(state, f"{name}.bn_similarity", similarity).softmax(-1)
        out = torch.einsum("bgij,bgcj->bgci", weights, v).flatten(1, 2)
        out = batch_normed(state, f"{name}.bn_output", out)
    else:
        length = x.shape[axis]
        places = torch.arange(length)
        far = state[f"{name}.relative"][:, places[:, None] - places + length - 1]
        by_query = torch.einsum("bgci,cij->bgij", q, far[:half])
        by_key = torch.einsum("bgcj,cji->bgij", k, far[half : 2 * half])
        one = torch.ones(())
        by_query = by_query * state.get(f"{name}.f_qr", one)
        by_key = by_key * state.get(f"{name}.f_kr", one)
        terms = torch.cat((similarity, by_query, by_key), 1)
        terms = batch_normed(state, f"{name}.bn_similarity", terms)
        weights = terms.unflatten(1, (3, 8)).sum(1).softmax(-1)
        seen = torch.einsum("bgij,bgcj->bgci", weights, v) * state.get(f"{name}.f_sv", one)
        placed = torch.einsum("bgij,cij->bgci", weights, far[2 * half :])
        placed = placed * state.get(f"{name}.f_sve", one)
        both = torch.stack((seen, placed), 3).flatten(1, 3)
        out = batch_normed(state, f"{name}.bn_output", both).unflatten(1, (-1, 2)).sum(2)
    return out.unflatten(0, lines.shape[:2]).movedim(-2, 1).movedim(-1, axis)


def medt(state: State, x: Tensor) -> Tensor:
    image = x

    def branch(x, end, stages):
        for n in (1, 2, 3):
            x = convolved(state, f"conv{n}{end}", x, 2 if n == 1 else 1)
            x = F.relu(batch_normed(state, f"bn{n}{end}", x))
        kept = []
        for stage, blocks in enumerate((1, 2, 1, 1)[:stages], start=1):
            for block in range(blocks):
                here, halves = f"layer{stage}{end}.{block}", stage > 1 and block == 0
                y = convolved(state, f"{here}.conv_down", x)
                y = F.relu(batch_normed(state, f"{here}.bn1", y))
                y = axial(state, f"{here}.hight_block", y, 2)
                y = axial(state, f"{here}.width_block", y, 3)
                y = F.relu(F.avg_pool2d(y, 2) if halves else y)
                y = batch_normed(state, f"{here}.bn2", convolved(state, f"{here}.conv_up", y))
                if block == 0:
                    x = convolved(state, f"{here}.downsample.0", x, 2 if halves else 1)
                    x = batch_normed(state, f"{here}.downsample.1", x)
                x = F.relu(x + y)
            kept.append(x)

        def raised(name, x, stride=1):
            return F.relu(resized(convolved(state, name, x, stride), 2, corners=False))

        if stages == 4:
            x = raised(f"decoder1{end}", x, 2) + x
        for n, skip in enumerate(kept[-2::-1], start=6 - stages):
            x = raised(f"decoder{n}{end}", x) + skip
        return raised(f"decoder5{end}", x)

    has_local = "adjust_p.weight" in state
    x = branch(image, "", 2 if has_local else 4)
    if has_local:
        rows = [
            torch.cat([branch(part, "_p", 4) for part in row.chunk(4, 3)], 3)
            for row in image.chunk(4, 2)
        ]
        x = F.relu(convolved(state, "decoderf", x + torch.cat(rows, 2)))
    return convolved(state, "adjust", F.relu(x))


def attention_gates(state: State, x: Tensor) -> Tensor:
    def layer(name, x):
        return F.relu(batch_normed(state, f"{name}.1", convolved(state, f"{name}.0", x)))

    def double(name, x):
        return layer(f"{name}.conv2", layer(f"{name}.conv1", x))

    def gate(name, x, signal):
        here = convolved(state, f"{name}.theta", x, 2, 0)
        there = convolved(state, f"{name}.phi", signal)
        there = F.interpolate(there, here.shape[2:], mode="trilinear")
        seen = convolved(state, f"{name}.psi", F.relu(here + there)).sigmoid()
        y = convolved(state, f"{name}.W.0", F.interpolate(seen, x.shape[2:], mode="trilinear") * x)
        return batch_normed(state, f"{name}.W.1", y)

    skips = []
    for n in (1, 2, 3, 4):
        skips.append(double(f"conv{n}", F.max_pool3d(skips[-1], 2) if skips else x))
    x = double("center", F.max_pool3d(skips[-1], 2))
    is_gated = "gating.conv1.0.weight" in state
    signal = layer("gating.conv1", x) if is_gated else x
    scores = []
    for n in (4, 3, 2, 1):
        skip = skips[n - 1]
        if is_gated and n > 1:
            here = f"attentionblock{n}"
            both = [gate(f"{here}.gate_block_{m}", skip, signal) for m in (1, 2)]
            skip = layer(f"{here}.combine_gates", torch.cat(both, 1))
        x = double(f"up_concat{n}.conv", torch.cat((skip, resized(x, 2, corners=False)), 1))
        signal = x
        score = convolved(state, "dsv1" if n == 1 else f"dsv{n}.dsv.0", x)
        scores.insert(0, score if n == 1 else resized(score, 2 ** (n - 1), corners=False))
    return convolved(state, "final", torch.cat(scores, 1))


def mednext(state: State, x: Tensor) -> Tensor:
    blocks = (1, 2, 1, 1, 2, 1, 1, 1, 2)

    def block(name, x, change=None):
        dims, kernel = x.ndim - 2, state[f"{name}.conv1.weight"]
        up = F.conv_transpose2d if dims == 2 else F.conv_transpose3d
        pads, half = (1, 0) * dims, kernel.shape[-1] // 2
        stride = 1 if change is None else 2
        if change == "up":
            y = up(x, kernel, state[f"{name}.conv1.bias"], 2, half, groups=x.shape[1])
        else:
            y = convolved(state, f"{name}.conv1", x, stride, groups=x.shape[1])
        y = F.group_norm(y, y.shape[1], state[f"{name}.norm.weight"], state[f"{name}.norm.bias"])
        y = convolved(state, f"{name}.conv3", F.gelu(convolved(state, f"{name}.conv2", y)))
        if change == "down":
            x = convolved(state, f"{name}.res_conv", x, 2)
        elif change == "up":
            x = up(x, state[f"{name}.res_conv.weight"], state[f"{name}.res_conv.bias"], 2)
            return F.pad(x, pads) + F.pad(y, pads)
        return x + y

    x, skips = convolved(state, "stem", x), []
    for n in range(4):
        for m in range(blocks[n]):
            x = block(f"enc_block_{n}.{m}", x)
        skips.append(x)
        x = block(f"down_{n}", x, "down")
    for m in range(blocks[4]):
        x = block(f"bottleneck.{m}", x)
    for n in (3, 2, 1, 0):
        x = block(f"up_{n}", x, "up") + skips[n]
        for m in range(blocks[8 - n]):
            x = block(f"dec_block_{n}.{m}", x)
    head = state["out_0.conv_out.weight"].transpose(0, 1)
    return convolved({"h.weight": head, "h.bias": state["out_0.conv_out.bias"]}, "h", x)


def nnunet(state: State, x: Tensor) -> Tensor:
    """Both encoders of nnU-Net; strides are the kernels of the transposed convolutions."""

    def layer(name, x, stride=1, *, rectified=True):
        x = convolved(state, f"{name}.conv", x, stride)
        x = F.instance_norm(x, weight=state[f"{name}.norm.weight"], bias=state[f"{name}.norm.bias"])
        return F.leaky_relu(x, 0.01) if rectified else x

    dims = x.ndim - 2
    pool = F.avg_pool2d if dims == 2 else F.avg_pool3d
    up = F.conv_transpose2d if dims == 2 else F.conv_transpose3d
    steps = [tuple(state[f"decoder.transpconvs.{n}.weight"].shape[2:]) for n in (1, 0)]
    skips = []
    is_residual = "encoder.stem.convs.0.conv.weight" in state
    x = layer("encoder.stem.convs.0", x) if is_residual else x
    for stage, stride in enumerate(((1,) * dims, *steps)):
        for n in range(2):
            step = (1,) * dims if n else stride
            if not is_residual:
                x = layer(f"encoder.stages.{stage}.0.convs.{n}", x, step)
                continue
            here = f"encoder.stages.{stage}.blocks.{n}"
            y = layer(f"{here}.conv2", layer(f"{here}.conv1", x, step), rectified=False)
            x = pool(x, step, step)
            if f"{here}.skip.1.conv.weight" in state:
                x = layer(f"{here}.skip.1", x, rectified=False)
            x = F.leaky_relu(x + y, 0.01)
        skips.append(x)
    for n, stage in enumerate((1, 0)):
        name = f"decoder.transpconvs.{n}"
        x = up(x, state[f"{name}.weight"], state[f"{name}.bias"], steps[stage])
        x = torch.cat((x, skips[stage]), 1)
        for m in range(1 if is_residual else 2):
            x = layer(f"decoder.stages.{n}.convs.{m}", x)
    return convolved(state, "decoder.seg_layers.1", x)
