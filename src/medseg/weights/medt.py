"""Names of the Medical Transformer: `MedT`, `gated`, `axialunet` and `logo`.

The names are those of jeya-maria-jose/Medical-Transformer (`lib/models/axialnet.py`, commit
9d17166, 2021). What belongs to the local branch ends in `_p` there.

Images are rows x columns there: `hight_block` looks along the rows' axis and comes first, as our
attention along I does. The published local branch is cut for 128 x 128 pixels, whatever the image;
ours sees all of any image, and agrees with it at 128 x 128.
"""

from medseg.specs import MedTSpec
from medseg.specs.transformers import MedTKind
from medseg.weights.names import NameMap, State, numbered, shape_of

ORIGIN = "jeya-maria-jose/Medical-Transformer"

_STEM = {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3", "7": "bn3"}

_BLOCK = {
    "narrow": "conv_down",
    "narrow_norm": "bn1",
    "widen": "conv_up",
    "widen_norm": "bn2",
}

_ATTENTION = {
    "query_key_value": "qkv_transform",
    "input_norm": "bn_qkv",
    "similarity_norm": "bn_similarity",
    "output_norm": "bn_output",
}

_GATES = {
    "gates.query": "f_qr",
    "gates.key": "f_kr",
    "gates.value": "f_sv",
    "gates.position_value": "f_sve",
}


def medt_kind(state: State) -> MedTKind:
    """Which of the four networks it is: by its local branch and its gates."""
    has_local = "conv1_p.weight" in state
    is_gated = any(name.endswith(".f_qr") for name in state)
    if has_local:
        return "medt" if is_gated else "medt_logo"
    return "medt_gated" if is_gated else "medt_axial"


def medt_spec(state: State) -> MedTSpec:
    """The network that the authors' tensors tell, and the image size that it was built for."""
    kind = medt_kind(state)
    stem = shape_of(state, "conv1.weight", ORIGIN)
    attended = [
        shape_of(state, f"layer1.0.{axis}_block.relative", ORIGIN) for axis in ("hight", "width")
    ]
    deep = "_p" if kind in ("medt", "medt_logo") else ""
    blocks = [numbered(state, rf"layer{stage}{deep}\.(\d+)\.") for stage in range(1, 5)]
    return MedTSpec(
        kind=kind,
        dims=2,
        in_channels=stem[1],
        classes=shape_of(state, "adjust.weight", ORIGIN)[0],
        grid=tuple(distances[1] + 1 for distances in attended),
        width=stem[0],
        stem_width=shape_of(state, "conv2.weight", ORIGIN)[0],
        heads=4 * stem[0] // attended[0][0],
        blocks=(blocks[0], blocks[1], blocks[2], blocks[3]),
    )


def medt_names(spec: MedTSpec, state: State) -> NameMap:
    """Our names and the authors'; what their code holds and never uses is dead."""
    modules = {"segmentation": "adjust"}
    modules |= _branch(
        spec, "whole", "", stages=2 if spec.has_local_branch else 4, is_gated=spec.is_gated
    )
    dead = [r"\.flatten_index$"]
    if spec.has_local_branch:
        has_positions = spec.kind != "medt"
        modules["fuse"] = "decoderf"
        modules |= _branch(spec, "parts", "_p", stages=4, has_positions=has_positions)
        dead += [r"^adjust_p\.", *([] if has_positions else [r"^layer\d_p\.\d+\.conv1\."])]
    return NameMap(modules, dead=tuple(dead))


def _branch(
    spec: MedTSpec,
    ours: str,
    suffix: str,
    *,
    stages: int,
    has_positions: bool = True,
    is_gated: bool = False,
) -> dict[str, str]:
    """One branch; `suffix` ends the names of its layers there."""
    modules = {f"{ours}.stem.{here}": f"{there}{suffix}" for here, there in _STEM.items()}
    inside = dict(_ATTENTION)
    if has_positions:
        inside["distances"] = "relative"
    if is_gated:
        inside |= _GATES
    for stage in range(stages):
        for block in range(spec.blocks[stage]):
            here, there = f"{ours}.stages.{stage}.{block}", f"layer{stage + 1}{suffix}.{block}"
            modules |= {f"{here}.{a}": f"{there}.{b}" for a, b in _BLOCK.items()}
            for axis, name in enumerate(("hight_block", "width_block")):
                attention = {f"{here}.attentions.{axis}.{a}": b for a, b in inside.items()}
                modules |= {a: f"{there}.{name}.{b}" for a, b in attention.items()}
            if block == 0:
                modules |= {f"{here}.shortcut.{n}": f"{there}.downsample.{n}" for n in range(2)}
    if stages == 4:
        modules[f"{ours}.deepen"] = f"decoder1{suffix}"
    first = 6 - stages
    return modules | {f"{ours}.ups.{n}": f"decoder{first + n}{suffix}" for n in range(stages)}
