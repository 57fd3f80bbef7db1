"""Names of Attention-Gated-Networks: `unet_CT_multi_att_dsv_3D`, and its ungated baseline.

The names are those of ozan-oktay/Attention-Gated-Networks (commit 21e79c4, 2018); the
baseline is `unet_CT_dsv_3D`.

Theirs count the decoder, its gates and its scores from the finest stage, ours from the coarsest;
scores (`dsv`) both count from the finest. Arrays have the axes of the NIfTI file.
"""

from medseg.specs import AttentionUNetSpec
from medseg.weights.names import NameMap, State, numbered, shape_of

ORIGIN = "ozan-oktay/Attention-Gated-Networks"

_GATE = {"theta": "theta", "phi": "phi", "psi": "psi", "out.0": "W.0", "out.1": "W.1"}


def attention_spec(state: State) -> AttentionUNetSpec:
    """The network that the authors' tensors tell."""
    levels = numbered(state, r"conv(\d+)\.conv1\.") - 1
    stages = [*(f"conv{n + 1}" for n in range(levels)), "center"]
    kernels = [shape_of(state, f"{stage}.conv1.0.weight", ORIGIN) for stage in stages]
    dims = len(kernels[0]) - 2
    gated = numbered(state, r"attentionblock(\d+)\.") > 0
    strides = [(1,) * dims, (2,) * dims]
    for n in range(2, levels + 1):
        theta = f"attentionblock{n}.gate_block_1.theta.weight"
        strides.append(shape_of(state, theta, ORIGIN)[2:] if gated else (2,) * dims)
    return AttentionUNetSpec(
        dims=3 if dims == 3 else 2,
        in_channels=kernels[0][1],
        classes=shape_of(state, "final.weight", ORIGIN)[0],
        features=tuple(kernel[0] for kernel in kernels),
        strides=tuple(strides),
        is_gated=gated,
    )


def attention_names(spec: AttentionUNetSpec, state: State) -> NameMap:
    """Our names and the authors'."""
    levels = len(spec.features) - 1
    modules = {"fuse": "final", "scores.0": "dsv1"}
    for n in range(levels):
        modules |= _double(f"encoder.{n}", f"conv{n + 1}")
        modules |= _double(f"decoder.{n}", f"up_concat{levels - n}.conv")
    modules |= _double(f"encoder.{levels}", "center")
    modules |= {f"scores.{n}": f"dsv{n + 1}.dsv.0" for n in range(1, levels)}
    if spec.is_gated:
        modules |= {f"signal.{n}": f"gating.conv1.{n}" for n in range(2)}
        for n in range(levels - 1):
            modules |= _double_gate(f"gates.{n}", f"attentionblock{levels - n}")
    return NameMap(modules)


def _double(ours: str, theirs: str) -> dict[str, str]:
    """Two convolutions (0), each with its normalisation (1)."""
    return {
        f"{ours}.{conv}.{layer}": f"{theirs}.conv{conv + 1}.{layer}"
        for conv in range(2)
        for layer in range(2)
    }


def _double_gate(ours: str, theirs: str) -> dict[str, str]:
    modules = {f"{ours}.join.{n}": f"{theirs}.combine_gates.{n}" for n in range(2)}
    for gate, block in (("first", "gate_block_1"), ("second", "gate_block_2")):
        for here, there in _GATE.items():
            modules[f"{ours}.{gate}.{here}"] = f"{theirs}.{block}.{there}"
    return modules
