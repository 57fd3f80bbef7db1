"""Names of dynamic-network-architectures: nnU-Net's PlainConvUNet and ResidualEncoderUNet.

The names are those of MIC-DKFZ/dynamic-network-architectures 0.4, in use since 0.2 (2023).

Convolutions are 3x3(x3) blocks in `convs`; each block lies there twice, under its names and in
`all_modules`, and the decoder holds the encoder a second time. Strides are not in a state dict:
those of the transposed convolutions, whose kernels are their strides, tell them.
"""

from itertools import count

from medseg.specs import PlainUNetSpec, ResEncUNetSpec
from medseg.weights.names import NameMap, State, numbered, shape_of

ORIGIN = "dynamic-network-architectures"

_DEAD = (r"^decoder\.encoder\.", r"\.all_modules\.")


def plain_spec(state: State) -> PlainUNetSpec:
    """The network that a PlainConvUNet's tensors tell.

    Raises:
        WrongCheckpoint: If one of them is missing.
    """
    stages = numbered(state, r"encoder\.stages\.(\d+)\.")
    first = [f"encoder.stages.{s}.0.convs.0.conv.weight" for s in range(stages)]
    shapes = [shape_of(state, name, ORIGIN) for name in first or ["encoder.stages.0"]]
    return PlainUNetSpec(
        dims=3 if len(shapes[0]) == 5 else 2,
        in_channels=shapes[0][1],
        classes=_classes(state, stages),
        features=tuple(shape[0] for shape in shapes),
        kernels=tuple(shape[2:] for shape in shapes),
        strides=_strides(state, stages),
        encoder_convs=tuple(
            numbered(state, rf"encoder\.stages\.{s}\.0\.convs\.(\d+)\.") for s in range(stages)
        ),
        decoder_convs=_decoder_convs(state, stages),
        deep_supervision=_is_supervised(state, stages),
    )


def resenc_spec(state: State) -> ResEncUNetSpec:
    """The network that a ResidualEncoderUNet's tensors tell.

    Raises:
        WrongCheckpoint: If one of them is missing.
    """
    stages = numbered(state, r"encoder\.stages\.(\d+)\.")
    first = [f"encoder.stages.{s}.blocks.0.conv1.conv.weight" for s in range(stages)]
    shapes = [shape_of(state, name, ORIGIN) for name in first or ["encoder.stages.0"]]
    stem = shape_of(state, "encoder.stem.convs.0.conv.weight", ORIGIN)
    return ResEncUNetSpec(
        dims=3 if len(stem) == 5 else 2,
        in_channels=stem[1],
        classes=_classes(state, stages),
        features=tuple(shape[0] for shape in shapes),
        kernels=tuple(shape[2:] for shape in shapes),
        strides=_strides(state, stages),
        encoder_blocks=tuple(
            numbered(state, rf"encoder\.stages\.{s}\.blocks\.(\d+)\.") for s in range(stages)
        ),
        decoder_convs=_decoder_convs(state, stages),
        deep_supervision=_is_supervised(state, stages),
    )


def plain_names(spec: PlainUNetSpec, state: State) -> NameMap:
    """Our names and those of PlainConvUNet."""
    modules = {
        f"encoder.{stage}.{n}": f"encoder.stages.{stage}.0.convs.{n}"
        for stage, convs in enumerate(spec.encoder_convs)
        for n in range(convs)
    }
    return NameMap(modules | _decoder_names(spec), dead=_DEAD)


def resenc_names(spec: ResEncUNetSpec, state: State) -> NameMap:
    """Our names and those of ResidualEncoderUNet; our stem is the first block of a stage."""
    modules = {"encoder.0.0": "encoder.stem.convs.0"}
    before = spec.features[0]
    for stage, (width, blocks) in enumerate(zip(spec.features, spec.encoder_blocks, strict=True)):
        for ours, block in zip(count(0 if stage else 1), range(blocks), strict=False):
            here, there = f"encoder.{stage}.{ours}", f"encoder.stages.{stage}.blocks.{block}"
            modules |= {
                f"{here}.first": f"{there}.conv1",
                f"{here}.second": f"{there}.conv2.conv",
                f"{here}.norm": f"{there}.conv2.norm",
            }
            if block == 0 and before != width:
                pools = int(max(spec.strides[stage]) > 1)
                modules[f"{here}.shortcut.{pools}"] = f"{there}.skip.{pools}.conv"
                modules[f"{here}.shortcut.{pools + 1}"] = f"{there}.skip.{pools}.norm"
        before = width
    return NameMap(modules | _decoder_names(spec), dead=_DEAD)


def _decoder_names(spec: PlainUNetSpec | ResEncUNetSpec) -> dict[str, str]:
    """The decoder counts from the coarsest stage on both sides; only our heads do not."""
    stages = len(spec.decoder_convs)
    modules = {f"ups.{n}": f"decoder.transpconvs.{n}" for n in range(stages)}
    for stage, convs in enumerate(spec.decoder_convs):
        modules |= {
            f"decoder.{stage}.{n}": f"decoder.stages.{stage}.convs.{n}" for n in range(convs)
        }
    heads = stages if spec.deep_supervision else 1
    return modules | {f"heads.{n}": f"decoder.seg_layers.{stages - 1 - n}" for n in range(heads)}


def _strides(state: State, stages: int) -> tuple[tuple[int, ...], ...]:
    steps = [
        shape_of(state, f"decoder.transpconvs.{n}.weight", ORIGIN)[2:]
        for n in reversed(range(stages - 1))
    ]
    return ((1,) * len(steps[0]), *steps) if steps else ()


def _classes(state: State, stages: int) -> int:
    return shape_of(state, f"decoder.seg_layers.{max(stages - 2, 0)}.weight", ORIGIN)[0]


def _decoder_convs(state: State, stages: int) -> tuple[int, ...]:
    return tuple(
        numbered(state, rf"decoder\.stages\.{n}\.convs\.(\d+)\.") for n in range(stages - 1)
    )


def _is_supervised(state: State, stages: int) -> bool:
    heads = {name.split(".")[2] for name in state if name.startswith("decoder.seg_layers.")}
    return len(heads) == stages - 1
