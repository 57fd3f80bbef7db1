"""Names of MedNeXt: the authors' repository, and MONAI's class.

The names are those of MIC-DKFZ/MedNeXt (`mednextv1`, commit 02583e3, 2023), and of MONAI 1.5 and
1.6.

Both have transposed convolutions as heads, whose kernels have inputs first. The order of a block
is the same: depthwise (`conv1`), `norm`, widening (`conv2`), narrowing (`conv3`), and `res_conv`
beside blocks that change the grid. MONAI widens the blocks between stages by the ratio of the finer
stage, so only its networks with one ratio for all stages (S) are the paper's.
"""

from medseg.specs import MedNeXtSpec
from medseg.weights.names import Layout, NameMap, State, numbered, shape_of

ORIGIN, MONAI = "MIC-DKFZ/MedNeXt", "MONAI's MedNeXt"

_BLOCK = {"depthwise": "conv1", "norm": "norm", "widen": "conv2", "narrow": "conv3"}


def mednext_spec(state: State) -> MedNeXtSpec:
    """The network that the authors' tensors tell; all strides are 2, as theirs are."""
    levels = numbered(state, r"down_(\d+)\.")
    stages = [
        *(f"enc_block_{n}" for n in range(levels)),
        "bottleneck",
        *(f"dec_block_{n}" for n in reversed(range(levels))),
    ]
    supervised = f"out_{levels}.conv_out.weight" in state
    return _spec(state, stages, ORIGIN, deep_supervision=supervised)


def mednext_names(spec: MedNeXtSpec, state: State) -> NameMap:
    """Our names and the authors'; they count the decoder from the finest stage, we do not."""
    levels = len(spec.strides)
    modules = {"stem": "stem"}
    for n in range(levels):
        modules |= _blocks(f"encoder.{n}", f"enc_block_{n}", spec.blocks[n])
        modules |= _block(f"downs.{n}", f"down_{n}", has_shortcut=True)
        finest = levels - 1 - n
        modules |= _block(f"ups.{n}", f"up_{finest}", has_shortcut=True)
        modules |= _blocks(f"decoder.{n}", f"dec_block_{finest}", spec.blocks[levels + 1 + n])
    modules |= _blocks("bottleneck", "bottleneck", spec.blocks[levels])
    heads = levels + 1 if spec.deep_supervision else 1
    modules |= {f"heads.{n}": f"out_{n}.conv_out" for n in range(heads)}
    return NameMap(modules, dead=(r"^dummy_tensor$",), layouts=_LAYOUTS)


def monai_spec(state: State) -> MedNeXtSpec:
    """The network that MONAI's tensors tell."""
    levels = numbered(state, r"down_blocks\.(\d+)\.")
    stages = [
        *(f"enc_stages.{n}" for n in range(levels)),
        "bottleneck",
        *(f"dec_stages.{n}" for n in range(levels)),
    ]
    supervised = numbered(state, r"out_blocks\.(\d+)\.") > 0
    return _spec(state, stages, MONAI, deep_supervision=supervised)


def monai_names(spec: MedNeXtSpec, state: State) -> NameMap:
    """Our names and MONAI's, which counts the decoder and all heads but the first from below."""
    levels = len(spec.strides)
    modules = {"stem": "stem", "heads.0": "out_0.conv_out"}
    for n in range(levels):
        modules |= _blocks(f"encoder.{n}", f"enc_stages.{n}", spec.blocks[n])
        modules |= _block(f"downs.{n}", f"down_blocks.{n}", has_shortcut=True)
        modules |= _block(f"ups.{n}", f"up_blocks.{n}", has_shortcut=True)
        modules |= _blocks(f"decoder.{n}", f"dec_stages.{n}", spec.blocks[levels + 1 + n])
        if spec.deep_supervision:
            modules[f"heads.{n + 1}"] = f"out_blocks.{levels - 1 - n}.conv_out"
    modules |= _blocks("bottleneck", "bottleneck", spec.blocks[levels])
    return NameMap(modules, dead=(r"^dummy_tensor$",), layouts=_LAYOUTS)


def _spec(state: State, stages: list[str], origin: str, *, deep_supervision: bool) -> MedNeXtSpec:
    stem = shape_of(state, "stem.weight", origin)
    dims, levels = len(stem) - 2, len(stages) // 2
    blocks, expansions = [], []
    for stage in stages:
        wide = shape_of(state, f"{stage}.0.conv2.weight", origin)
        expansions.append(wide[0] // wide[1])
        blocks.append(numbered(state, rf"{stage.replace('.', '[.]')}\.(\d+)\."))
    return MedNeXtSpec(
        dims=3 if dims == 3 else 2,
        in_channels=stem[1],
        classes=shape_of(state, "out_0.conv_out.weight", origin)[1],
        width=stem[0],
        strides=((2,) * dims,) * levels,
        blocks=tuple(blocks),
        expansions=tuple(expansions),
        kernel=shape_of(state, f"{stages[0]}.0.conv1.weight", origin)[2],
        deep_supervision=deep_supervision,
    )


def _blocks(ours: str, theirs: str, count: int) -> dict[str, str]:
    modules: dict[str, str] = {}
    for n in range(count):
        modules |= _block(f"{ours}.{n}", f"{theirs}.{n}", has_shortcut=False)
    return modules


def _block(ours: str, theirs: str, *, has_shortcut: bool) -> dict[str, str]:
    modules = {f"{ours}.{here}": f"{theirs}.{there}" for here, there in _BLOCK.items()}
    return modules | ({f"{ours}.shortcut": f"{theirs}.res_conv"} if has_shortcut else {})


_LAYOUTS: dict[str, Layout] = {r"conv_out\.weight$": lambda kernel: kernel.transpose(0, 1)}
