"""Engines that were exported from a bundle: their files, and what was checked of each.

An engine is a folder `KIND/PRECISION` in the bundle, such as `openvino/int8`:

* `engine.json`: the record below
* a file for each network, numbered as in `weights.safetensors`: "0.onnx", "0.xml" and "0.bin",
  "0.plan", "0.pt2"
* `pipeline.json`: what is done before and after the networks (beside ONNX files also `predict.py`,
  which does it without medseg)

Engines of a bundle in the box, of one in a folder that may not be written, or of a kind that is a
program, lie in the user's cache folder instead.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

import medseg
from medseg.bundle import BUILTIN_FOLDER, Bundle, Configuration
from medseg.errors import CorruptEngine, ForeignEngine, NoEngine
from medseg.files import sha256
from medseg.inference.machine import instructions, processor_name
from medseg.specs import FROZEN

EngineKind = Literal["onnx", "openvino", "tensorrt", "compiled"]
"""Runtimes that a bundle can be exported to; "compiled" is torch's own compiler."""

NATIVE: frozenset[EngineKind] = frozenset({"compiled"})
"""Kinds whose files are programs. They run only where this user made them, in the cache folder: a
bundle that somebody sent holds data and never a program."""

EnginePrecision = Literal["fp32", "fp16", "bf16", "int8"]
"""What an engine computes with."""

RECORD_FILE = "engine.json"

CACHE = Path(".cache") / "medseg"
"""Below the user's home: engines and choices that have no place in the bundle."""


class EngineFile(BaseModel):
    """One file of an engine.

    Attributes:
        sha256: Of its bytes.
        bytes: How many there are.
    """

    model_config = FROZEN

    sha256: str
    bytes: int


class Place(BaseModel):
    """Where an engine was made and checked.

    Attributes:
        medseg: The version that made it.
        runtime: Name and version of the runtime, such as "openvino 2026.4.1".
        processor: Name of the processor or graphics card.
        instructions: Those of the processor that change which kernels are taken.
    """

    model_config = FROZEN

    medseg: str
    runtime: str
    processor: str
    instructions: tuple[str, ...]

    @classmethod
    def here(cls, runtime: str) -> "Place":
        """This machine and these versions."""
        return cls(
            medseg=medseg.__version__,
            runtime=runtime,
            processor=processor_name(),
            instructions=instructions(),
        )


class Parity(BaseModel):
    """How near the results of an engine are to those of the weights in torch.

    Attributes:
        patches: How many were compared, each by every network.
        source: Where they come from: the name of a data set, or "made up".
        against: What torch computed with: "fp32", or of INT8 its own "fake quantisation".
        largest_logit: The largest of torch's, by magnitude.
        largest_difference: The largest difference of two logits.
        root_mean_square: Of all differences.
        dice: Dice of the classes that the engine and torch elect, all structures together.
    """

    model_config = FROZEN

    patches: int
    source: str
    against: str
    largest_logit: float
    largest_difference: float
    root_mean_square: float
    dice: float


class Compared(BaseModel):
    """One score of the engine and of the weights in torch, on the same cases.

    Attributes:
        torch: Mean of the weights in float32; after quantisation-aware training, of those before.
        engine: Mean of the engine.
        change: Mean of engine less torch.
        ci_low: Lower end of the bootstrap interval of the change (95 %); None below two cases.
        ci_high: Its upper end.
    """

    model_config = FROZEN

    torch: float
    engine: float
    change: float
    ci_low: float | None = None
    ci_high: float | None = None


class Accuracy(BaseModel):
    """What whole cases with a reference say.

    Attributes:
        cases: Their ids.
        data: Name of their data set.
        are_held_out: Whether no network was trained on one of them.
        dice: Mean over structures, then over cases.
        hd95_mm: 95th percentile of the surface distance, over structures that both masks have;
            None if there is none.
    """

    model_config = FROZEN

    cases: tuple[str, ...]
    data: str
    are_held_out: bool
    dice: Compared
    hd95_mm: Compared | None = None


class Quantisation(BaseModel):
    """How the weights and activations became 8-bit integers.

    Attributes:
        data: Name of the data set that ranges were calibrated on.
        patches: How many patches were seen.
        trained_seconds: Seconds of quantisation-aware training; 0 after the training only.
        layers: Convolutions that run in INT8, as the runtime's own graph says, in each network.
        kept: Layers that were kept in float, with the reason.
        untrained: Accuracy in INT8 of the weights before quantisation-aware training.
    """

    model_config = FROZEN

    data: str
    patches: int
    trained_seconds: float = 0.0
    layers: int
    kept: dict[str, str] = Field(default_factory=dict)
    untrained: Accuracy | None = None


class EngineRecord(BaseModel):
    """The content of `engine.json`.

    Attributes:
        format: Version of this record.
        kind: The runtime.
        precision: What it computes with.
        weights_sha256: SHA-256 of the bundle's weights file that it was made from.
        place: Where it was made and checked.
        created: Date and time in UTC, ISO 8601.
        files: Every file of the engine by its name.
        networks: How many networks it holds.
        parity: How near it is to torch.
        patch_ms: Wall time of one patch through one network with `threads` threads, in
            milliseconds: the median of a few, when it was made.
        torch_ms: The same of torch.
        threads: Threads of both.
        quantisation: Of INT8: how.
        accuracy: Scores of whole cases, where a data set was given.
    """

    model_config = FROZEN

    format: Literal[1] = 1
    kind: EngineKind
    precision: EnginePrecision
    weights_sha256: str
    place: Place
    created: str
    files: dict[str, EngineFile]
    networks: int = Field(ge=1)
    parity: Parity
    patch_ms: float
    torch_ms: float
    threads: int
    quantisation: Quantisation | None = None
    accuracy: Accuracy | None = None

    @property
    def name(self) -> str:
        """For people, such as "openvino int8"."""
        return f"{self.kind} {self.precision}"


@dataclass(frozen=True)
class Exported:
    """An engine on disk.

    Attributes:
        folder: Where it lies.
        record: What was checked.
    """

    folder: Path
    record: EngineRecord

    def require_usable(self, bundle: Bundle, runtime: str) -> None:
        """Pass if it is as it was checked, and belongs to this bundle and this machine.

        Args:
            bundle: The bundle it shall run for.
            runtime: Name and version of the runtime that is installed.

        Raises:
            ForeignEngine: If it is of other weights, another version or another processor.
            CorruptEngine: If a file changed or is missing.
        """
        record = self.record
        cure = (
            f"Make it again here: medseg export {bundle.folder or bundle.name} --to {record.kind} "
            f"--precision {record.precision}"
            + (" --calibrate DATASET." if record.quantisation else ".")
        )
        here = Place.here(runtime)
        checks = (
            ("weights", record.weights_sha256[:12], bundle.weights_sha256[:12]),
            ("version of the runtime", record.place.runtime, here.runtime),
            ("processor", record.place.instructions, here.instructions),
        )
        for what, there, now in checks:
            if there != now:
                raise ForeignEngine(
                    "An engine runs where its results were checked: same weights, same version, "
                    "same kind of processor.",
                    received=f"{record.name} with another {what}: {_difference(there, now)}",
                    cure=cure,
                )
        for name, file in record.files.items():
            path = self.folder / name
            found = sha256(path) if path.is_file() else "no file"
            if found != file.sha256:
                raise CorruptEngine(
                    f"The files of an engine are as they were checked; {path} is not.",
                    received=f"SHA-256 {found[:12]} for {file.sha256[:12]}",
                    cure=cure,
                )


def read_engine(folder: Path) -> Exported | None:
    """The engine in a folder; None if there is none.

    Raises:
        CorruptEngine: If its record cannot be read.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        return None
    try:
        return Exported(folder, EngineRecord.model_validate_json(path.read_bytes()))
    except ValidationError as error:
        first = error.errors()[0]
        raise CorruptEngine(
            f"The record of an engine is as it was written; {path} is not.",
            received=f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}",
            cure="Export the bundle again.",
        ) from error


def find_engine(bundle: Bundle, kind: EngineKind, precision: EnginePrecision) -> Exported:
    """One engine of a bundle.

    Raises:
        NoEngine: If it was not exported.
        CorruptEngine: If its record cannot be read.
    """
    for home in homes(bundle):
        if kind in NATIVE and home == bundle.folder:
            continue
        found = read_engine(home / kind / precision)
        if found is not None:
            return found
    raise NoEngine(
        "An engine is exported before it is used.",
        received=f"{bundle.name} without {kind} {precision}",
        cure=f"Run: medseg export {bundle.folder or bundle.name} --to {kind} "
        f"--precision {precision}.",
    )


def engines_of(bundle: Bundle) -> Iterator[Path]:
    """Folders of all engines that a bundle has, whether they can be used or not."""
    for home in homes(bundle):
        found = sorted(path.parent for path in home.glob(f"*/*/{RECORD_FILE}"))
        is_own = home == bundle.folder
        yield from (path for path in found if not (is_own and path.parts[-2] in NATIVE))


def homes(bundle: Bundle) -> tuple[Path, ...]:
    """Where engines of a bundle may lie; none of one that was not saved."""
    if bundle.folder is None:
        return ()
    cached = Path.home() / CACHE / "engines" / bundle.weights_sha256[:16]
    return (bundle.folder, cached)


def home_for_writing(bundle: Bundle, kind: EngineKind = "onnx") -> Path:
    """Where engines of a bundle are written.

    Args:
        bundle: Theirs.
        kind: The runtime; programs are never written into a bundle.

    Raises:
        NoEngine: If it was not saved.
    """
    if bundle.folder is None:
        raise NoEngine(
            "A bundle is saved before it is exported.",
            received="one that is in memory only",
            cure="Save it with save_bundle first.",
        )
    own, cached = homes(bundle)
    is_ours = bundle.folder.parent != BUILTIN_FOLDER and os.access(own, os.W_OK)
    return own if is_ours and kind not in NATIVE else cached


def networks_of(bundle: Bundle) -> tuple[Configuration, ...]:
    """All configurations in the order of their networks, each before what it builds upon."""
    found: list[Configuration] = []
    for one in bundle.configurations:
        stage: Configuration | None = one
        while stage is not None:
            found.append(stage)
            stage = stage.first_stage
    return tuple(found)


def numbers_of(bundle: Bundle, configuration: Configuration) -> range:
    """The numbers of a configuration's networks among all of a bundle."""
    start = 0
    for one in networks_of(bundle):
        if one.members[0] is configuration.members[0]:
            return range(start, start + len(one.members))
        start += len(one.members)
    raise ValueError("a configuration of another bundle")


def files_in(folder: Path) -> Mapping[str, EngineFile]:
    """The files of a folder, but for the record."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    return {
        path.name: EngineFile(sha256=sha256(path), bytes=path.stat().st_size)
        for path in paths
        if path.name != RECORD_FILE
    }


def _difference(there: str | tuple[str, ...], now: str | tuple[str, ...]) -> str:
    if isinstance(there, str) or isinstance(now, str):
        return f"{there}, here {now}"
    lacking, more = sorted({*there} - {*now}), sorted({*now} - {*there})
    words = [f"{', '.join(some)} {where}" for some, where in ((lacking, "lacking here"),
             (more, "here only")) if some]  # fmt: skip
    return "; ".join(words)
