"""Which engine runs the networks of a bundle: the one that was asked for, or the fastest.

"auto" is torch for a bundle that was never exported. Otherwise each engine that may run here is
timed against torch on one patch, once: the choice is remembered in the user's cache folder until
the weights, an engine, a version, the processor or the number of threads change.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from medseg.bundle import Bundle, Configuration, build_members
from medseg.errors import BundleError, CannotWrite, MedsegError, MissingDependency, NoEngine
from medseg.files import write_text
from medseg.inference.engine import Activation, Device, Engine, Precision
from medseg.inference.exported import (
    CACHE,
    EngineKind,
    EnginePrecision,
    Exported,
    engines_of,
    find_engine,
    numbers_of,
    read_engine,
)
from medseg.inference.machine import may_have_card, processor_name, threads
from medseg.progress import SILENT, Progress
from medseg.types import FloatArray

if TYPE_CHECKING:
    from medseg.inference.torch_engine import TorchEngine

EngineName = Literal["auto", "torch", "compiled", "onnx", "openvino", "tensorrt"]
"""What runs the networks; "auto" is the fastest that was checked on this machine."""

Wanted = Literal["auto", "fp32", "bf16", "fp16", "int8"]
"""What they compute with; "auto" is the fastest that was checked."""

_REPEATS = 3


class EngineMaker(Protocol):
    """Makes the engines of a configuration.

    Attributes:
        name: For the record: "torch", "openvino" and so on.
        precision: For the record.
    """

    name: str
    precision: str

    def __call__(self, configuration: Configuration) -> tuple[Engine, ...]:
        """One engine for each network of a configuration, in their order."""
        ...


class TorchMaker:
    """Networks in torch.

    Args:
        device: Where they run.
        precision: See `TorchEngine`.
    """

    name = "torch"

    def __init__(self, *, device: Device = "auto", precision: Precision = "auto") -> None:
        self._device: Device = device
        self._precision: Precision = precision
        self.precision: str = precision

    def __call__(self, configuration: Configuration) -> "tuple[TorchEngine, ...]":
        """See `EngineMaker`."""
        from medseg.inference.torch_engine import TorchEngine  # torch is slow to load

        return tuple(
            TorchEngine(
                network,
                device=self._device,
                precision=self._precision,
                activation=activation_of(configuration),
            )
            for network in build_members(configuration)
        )


class FolderMaker:
    """Networks that were exported to a folder; nothing is checked.

    Args:
        bundle: Theirs.
        folder: Where their files lie.
        kind: The runtime.
        precision: What they were made for.
    """

    def __init__(
        self, bundle: Bundle, folder: Path, kind: EngineKind, precision: EnginePrecision
    ) -> None:
        self._bundle, self._folder = bundle, folder
        self._kind: EngineKind = kind
        self._precision: EnginePrecision = precision
        self.name: str = kind
        self.precision: str = precision

    def __call__(self, configuration: Configuration) -> tuple[Engine, ...]:
        """See `EngineMaker`."""
        return tuple(
            open_engine(self._folder, n, self._kind, self._precision)
            for n in numbers_of(self._bundle, configuration)
        )


def checked(bundle: Bundle, exported: Exported) -> FolderMaker:
    """Whoever makes engines of files that are as they were checked, on such a machine.

    Args:
        bundle: Their bundle.
        exported: Where they lie, and what was checked.

    Raises:
        MissingDependency: If the runtime is not installed.
        ForeignEngine: If they were checked with other weights, another version or processor.
        CorruptEngine: If a file changed since.
    """
    record = exported.record
    exported.require_usable(bundle, runtime_version(record.kind))
    return FolderMaker(bundle, exported.folder, record.kind, record.precision)


def choose_engines(
    bundle: Bundle,
    *,
    engine: EngineName = "auto",
    device: Device = "auto",
    precision: Wanted = "auto",
    progress: Progress = SILENT,
) -> EngineMaker:
    """Whoever makes the engines that were asked for.

    Args:
        bundle: Whose networks run.
        engine: Which runtime. Of "auto", an engine that cannot be used is passed over with a note.
        device: Where torch runs. Exported engines run on the CPU, TensorRT's on a GPU.
        precision: What they compute with.
        progress: Told of engines that are passed over, and of a choice that is measured.

    Raises:
        NoEngine: If the bundle was not exported to that runtime, or not in that precision.
        ForeignEngine: If the one that was asked for was checked elsewhere.
        CorruptEngine: If it changed since.
        MissingDependency: If its runtime is not installed.
    """
    if engine == "torch" or (engine == "auto" and bundle.folder is None):
        return _torch(device, precision, bundle)
    if engine != "auto":
        return _of_kind(bundle, engine, precision)
    makers: list[EngineMaker] = []
    on_gpu = _is_gpu(device)
    for folder in engines_of(bundle):
        kind, own = folder.parts[-2:]
        if on_gpu != (kind == "tensorrt") or precision not in ("auto", own):
            continue
        try:
            found = read_engine(folder)
            makers += [checked(bundle, found)] if found else []
        except (BundleError, MissingDependency) as error:
            progress.note(f"Passed over {kind} {own}. {error}")
    if precision != "int8":
        makers.insert(0, _torch(device, precision, bundle))
    if not makers:
        raise _not_exported(bundle, engine, precision)
    return makers[0] if len(makers) == 1 else _fastest(bundle, makers, progress)


def open_engine(folder: Path, number: int, kind: EngineKind, precision: EnginePrecision) -> Engine:
    """One network of an exported engine.

    Args:
        folder: Where its files lie.
        number: Which network.
        kind: The runtime.
        precision: What it was made for.

    Raises:
        MissingDependency: If the runtime is not installed.
        CorruptEngine: If it does not take the file.
    """
    match kind:
        case "onnx":
            from medseg.inference.onnx_engine import OnnxEngine

            return OnnxEngine(folder / f"{number}.onnx", precision=precision, threads=threads())
        case "openvino":
            from medseg.inference.openvino_engine import OpenVinoEngine

            return OpenVinoEngine(folder / f"{number}.xml", precision=precision, threads=threads())
        case "tensorrt":
            from medseg.inference.tensorrt_engine import TensorRtEngine

            return TensorRtEngine(folder / f"{number}.plan", precision=precision)
        case "compiled":
            from medseg.inference.compiled_engine import CompiledEngine

            return CompiledEngine(folder / f"{number}.pt2", precision=precision)


def runtime_version(kind: EngineKind) -> str:
    """Name and version of an installed runtime.

    Raises:
        MissingDependency: If it is not installed.
    """
    match kind:
        case "onnx":
            from medseg.inference.onnx_engine import runtime_version as own
        case "openvino":
            from medseg.inference.openvino_engine import runtime_version as own
        case "tensorrt":
            from medseg.inference.tensorrt_engine import runtime_version as own
        case "compiled":
            from medseg.inference.compiled_engine import runtime_version as own
    return own()


def activation_of(configuration: Configuration) -> Activation:
    """What makes probabilities of a configuration's logits."""
    return "sigmoid" if configuration.plan.regions else "softmax"


def patch_of(configuration: Configuration, *, batch: int = 1) -> FloatArray:
    """Normal noise of the shape that a configuration's networks see, (B, C, *patch)."""
    network, patch = configuration.plan.network, configuration.plan.patch_size[:]
    shape = (batch, network.in_channels, *patch[: network.dims])
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def patch_ms(engine: Engine, patch: FloatArray, *, repeats: int = _REPEATS) -> float:
    """Wall time of a patch through an engine in milliseconds: the median, after a first one."""
    took = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        engine.run(patch)
        took.append(1e3 * (time.perf_counter() - begin))
    return median(took[1:])


def _is_gpu(device: Device) -> bool:
    """Whether torch computes on a GPU there; it is not loaded where there is none.

    Raises:
        MissingDependency: If a GPU is asked for and there is none.
    """
    if device == "cpu" or (device == "auto" and not may_have_card()):
        return False
    from medseg.inference.torch_engine import choose_device  # torch is slow to load

    return choose_device(device).type == "cuda"


def _torch(device: Device, precision: Wanted, bundle: Bundle) -> TorchMaker:
    if precision == "int8":
        raise _not_exported(bundle, "torch", precision)
    return TorchMaker(device=device, precision=precision)


def _of_kind(bundle: Bundle, kind: EngineKind, precision: Wanted) -> EngineMaker:
    """The exported engine that was asked for; of several precisions the one that was fastest."""
    if precision != "auto":
        return checked(bundle, find_engine(bundle, kind, precision))
    folders = [folder for folder in engines_of(bundle) if folder.parts[-2] == kind]
    found = [one for one in map(read_engine, folders) if one is not None]
    if not found:
        raise _not_exported(bundle, kind, precision)
    usable, errors = [], []
    for one in sorted(found, key=lambda one: one.record.patch_ms / one.record.torch_ms):
        try:
            usable.append(checked(bundle, one))
        except MedsegError as error:
            errors.append(error)
    if not usable:
        raise errors[0]
    return usable[0]


def _not_exported(bundle: Bundle, engine: str, precision: str) -> NoEngine:
    there = ", ".join(" ".join(folder.parts[-2:]) for folder in engines_of(bundle)) or "none"
    what = " ".join(word for word in (engine, precision) if word != "auto")
    target = engine if engine not in ("auto", "torch") else "openvino"
    return NoEngine(
        "An engine other than torch is exported before it is used, and INT8 is never torch's.",
        received=f"{what} for {bundle.name}, whose engines are: {there}",
        cure=f"Run: medseg export {bundle.folder or bundle.name} --to {target}"
        + (" --precision int8 --calibrate DATASET." if precision == "int8" else "."),
    )


def _fastest(bundle: Bundle, makers: Sequence[EngineMaker], progress: Progress) -> EngineMaker:
    """The fastest, as remembered or else as measured now."""
    names = {f"{maker.name} {maker.precision}": maker for maker in makers}
    path = Path.home() / CACHE / "choices" / f"{_key(bundle, names)}.json"
    try:
        return names[json.loads(path.read_text(encoding="utf-8"))["engine"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    configuration = bundle.configurations[0]
    patch, took = patch_of(configuration), {}
    with progress.task("Timing engines", len(names)) as task:
        for name, maker in names.items():
            try:
                took[name] = patch_ms(maker(configuration)[0], patch)
            except MedsegError as error:
                progress.note(f"Passed over {name}. {error}")
            task.advance()
    if not took:
        raise _not_exported(bundle, "auto", "auto")
    best = min(took, key=took.__getitem__)
    shown = ", ".join(
        f"{name} {ms:.3g} ms" for name, ms in sorted(took.items(), key=lambda x: x[1])
    )
    progress.note(f"Engine {best}: the fastest on a patch here ({shown}).")
    try:
        write_text(path, json.dumps({"engine": best, "patch_ms": took}, indent=1) + "\n")
    except CannotWrite:
        progress.note("The choice cannot be remembered: no cache folder may be written.")
    return names[best]


def _key(bundle: Bundle, names: Sequence[str] | dict[str, EngineMaker]) -> str:
    """What a remembered choice depends on."""
    records = [
        hashlib.sha256((folder / "engine.json").read_bytes()).hexdigest()
        for folder in engines_of(bundle)
    ]
    facts = [
        bundle.weights_sha256, *names, *records, processor_name(), version("torch"),
        str(threads()), str(_is_gpu("auto")),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
