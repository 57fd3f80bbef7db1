"""A volume in, a label map in the volume's own space out."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medseg.allocator import is_out_of_memory, release_freed_memory
from medseg.bundle import Bundle
from medseg.dataset.description import fit_picture
from medseg.dataset.preprocess import Preprocessed
from medseg.inference.assembly import assemble
from medseg.inference.attention import AttentionMaps, gates_of, sweep_attention
from medseg.inference.configured import Configured, air_of, shown
from medseg.inference.elected import elected, file_values
from medseg.inference.engine import Device
from medseg.inference.engines import EngineMaker, EngineName, Wanted, choose_engines
from medseg.inference.fitting import require_fitting, require_room
from medseg.inference.memory import Load, described, passages_within, within
from medseg.inference.passage import Passage, passages, wholes
from medseg.inference.postprocess import postprocessed
from medseg.inference.quality import Expectation, Quality, estimate_quality
from medseg.inference.return_nnunet import as_nnunet_returns, slices_apart
from medseg.progress import SILENT, Progress
from medseg.space.votes import TopClasses
from medseg.types import IntArray
from medseg.volume.geometry import Geometry
from medseg.volume.volume import LabelMap, Volume

if TYPE_CHECKING:
    from medseg.inference.sequence import FrameMask

LARGE_BYTES = 16 << 20
"""An image from which on it is worth milliseconds to give its memory back, once it is prepared: it
was often read by another thread, whose freed memory no one else takes."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a bundle says about one case.

    Attributes:
        label_map: The mask, on the case's own grid.
        volumes_ml: Volume of each structure by its name; 0.0 where nothing was found.
        quality: How far to trust it.
        seconds: Wall time from volume to mask, reading and writing left out.
        attention: What each attention gate let through; None if it was not asked for.
    """

    label_map: LabelMap
    volumes_ml: dict[str, float]
    quality: Quality
    seconds: float
    attention: AttentionMaps | None = None


class Predictor:
    """A bundle, ready to segment.

    Args:
        bundle: What to use. The members of a configuration are averaged, then the configurations,
            on the case's own grid; then comes the bundle's post-processing. Of a cascade, the first
            stage finds a mask that the networks of the second see beside the image.
        engine: What runs it; see `choose_engines`.
        device: Where it runs.
        precision: What it computes with; see `TorchEngine` for torch.
        mirrors: Whether each window is also shown mirrored along every axis that was mirrored in
            training: up to eight times the work for a little accuracy (test-time augmentation).
        attention: Whether predictions also hold what attention gates let through: each window is
            shown a second time. Of several configurations the first one is looked into.
        skip_air: Whether windows of a CT that hold nothing but air are background unseen.
        memory_bytes: What the process may hold; see `medseg.inference.memory`. None for as much as
            is fastest.
        foretell: Whether the Dice of each mask is foretold by the model in the bundle's folder:
            about as much work again, twice as much of a bundle trained with mirrors.
        maker: Who makes the engines, instead of what the three say.
        progress: Told which engine was chosen, and which ones cannot be used.

    Raises:
        BundleError: If attention is asked for and the network has no gates; if Dice is to be
            foretold and there is no model for that; if the bundle has no such engine, or one that
            must not run here.
        MissingDependency: If the runtime is not installed, or the machine has no such device.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        engine: EngineName = "auto",
        device: Device = "auto",
        precision: Wanted = "auto",
        mirrors: bool = False,
        attention: bool = False,
        skip_air: bool = False,
        memory_bytes: int | None = None,
        foretell: bool = False,
        maker: EngineMaker | None = None,
        progress: Progress = SILENT,
    ) -> None:
        if maker is None:
            maker = choose_engines(
                bundle,
                engine="torch" if attention and engine == "auto" else engine,
                device=device,
                precision=precision,
                progress=progress,
            )
        self.bundle, self.precision, self.mirrors = bundle, maker.precision, mirrors
        self.gate_names: tuple[str, ...] = ()
        self.configured = tuple(
            Configured(one, maker=maker, mirrors=mirrors) for one in bundle.configurations
        )
        self.engines = tuple(engine for one in self.configured for engine in one.engines)
        self.ensemble = self.configured[0].ensemble
        self.skip_air, self.memory_bytes = skip_air, memory_bytes
        if skip_air:
            for one in self.configured:
                air_of(one.plan)
        if attention:
            self.gate_names = gates_of(self.engines[0], bundle)
        self._foreteller = None
        if foretell:
            from medseg.inference.foretelling import Foreteller

            self._foreteller = Foreteller(bundle, device=device)

    def predict(self, volume: Volume, *, progress: Progress = SILENT) -> Prediction:
        """Segment one case.

        Args:
            volume: The case as it was read, on any grid.
            progress: Told after each batch of windows.

        Raises:
            WrongInput: If the bundle was not made for such a case.
            DatasetError: If a voxel holds no finite number.
            MemoryTooSmall: If there is not enough memory for it.
        """
        return self.predict_from(lambda: volume, progress=progress)

    def predict_from(
        self, read: Callable[[], Volume], *, progress: Progress = SILENT
    ) -> Prediction:
        """Segment one case that nobody else holds: its image is let go of once it is prepared.

        Args:
            read: Gives the case. Its time is not counted.
            progress: Told after each batch of windows.

        Raises:
            WrongInput: As `predict`.
            DatasetError: As `predict`.
            MemoryTooSmall: As `predict`.
        """
        with within(self.memory_bytes):
            return self._predict(read, progress)

    def _predict(self, read: Callable[[], Volume], progress: Progress) -> Prediction:
        volume = read()
        start = time.perf_counter()
        volume = fit_picture(volume, self.bundle.plan.channels)
        for one in self.configured:
            require_fitting(volume, one.plan)
            require_room(volume.geometry, one.plan, maps=len(self.gate_names))
        first, *further = self.configured
        case = first.prepared(volume, progress=progress)
        cases = [case, *(one.prepared(volume, progress=progress) for one in further)]
        geometry, source = volume.geometry, volume.source
        kept = volume if self._foreteller is not None else None
        is_large = volume.array.nbytes >= LARGE_BYTES
        del volume, read
        if is_large:
            release_freed_memory()
        array, expectations = self._swept_within(cases, progress)
        attention = self._attention(case, progress) if self.gate_names else None
        del case, cases
        whole = LabelMap(array, geometry, self.bundle.labels, source)
        label_map = postprocessed(whole, self.bundle.postprocessing)
        quality = estimate_quality(
            expectations,
            label_map,
            volume_ranges_ml=self.bundle.volume_ranges_ml,
            instances=first.plan.instances,
            regions=first.plan.regions,
        )
        if self._foreteller is not None and kept is not None:
            foretold = self._foreteller.dice(kept)
            quality = quality.model_copy(update={"predicted_dice": foretold})
        seconds = time.perf_counter() - start
        return Prediction(label_map, label_map.volumes_ml(), quality, seconds, attention)

    def stream(self, frames: Iterable[Volume]) -> "Iterator[FrameMask]":
        """Segment a sequence of single slices, such as the frames of a video, of any length.

        Frames are read and prepared in a thread of their own while the one before is computed; no
        more than a few are held at a time. Masks come in the order of the frames and are those of
        `predict`; quality is not estimated. Where the bundle takes one channel, 8-bit colours
        become grey (ITU-R BT.601).

        Args:
            frames: Cases with K = 1, one after the other; see `medseg.volume.frames.frame_of` for
                arrays and `open_frames` for files.

        Yields:
            A mask for each frame.

        Raises:
            WrongInput: If the bundle was made for volumes, or not for such frames.
            DatasetError: If a pixel holds no finite number.
        """
        from medseg.inference.sequence import stream_masks

        return stream_masks(frames, self)

    def predict_preprocessed(self, case: Preprocessed, *, progress: Progress = SILENT) -> IntArray:
        """Class indices on the first configuration's grid, (I, J, K): for looks in training."""
        top, plan = self.configured[0].sweep(case, progress=progress), self.bundle.plan
        return elected([top], top.geometry, plan.labels, plan.regions)

    def _swept_within(
        self, cases: Sequence[Preprocessed], progress: Progress
    ) -> tuple[IntArray, list[Expectation]]:
        """The same as `_swept`; with the least memory, where the first choice was too much."""
        try:
            return self._swept(cases, progress)
        except (MemoryError, RuntimeError) as error:
            if self.memory_bytes is None or not is_out_of_memory(error):
                raise
        progress.note("That was too much: once more with the least that a window needs.")
        return self._swept(cases, progress, least=True)

    def _swept(
        self, cases: Sequence[Preprocessed], progress: Progress, *, least: bool = False
    ) -> tuple[IntArray, list[Expectation]]:
        """Values on the case's own grid, and how sure each configuration is of them."""
        target, labels = cases[0].original, self.bundle.labels
        regions = self.configured[0].plan.regions
        pairs = list(zip(self.configured, cases, strict=True))
        plan = self.configured[0].plan
        is_apart = (
            plan.conventions == "nnunet"
            and len(cases) == 1
            and slices_apart(cases[0].geometry, plan, target) is not None
        )
        chosen = self._passages(cases, held_whole=is_apart, least=least, progress=progress)
        expectations = [one.expectation() for one in self.configured]
        streams = [
            one.stream(case, passage, told, skip_air=self.skip_air, progress=progress)
            for (one, case), passage, told in zip(pairs, chosen, expectations, strict=True)
        ]

        def elect(tops: Sequence[TopClasses], part: Geometry) -> IntArray:
            if is_apart:
                tops = [as_nnunet_returns(tops[0], plan, part)]
            return file_values(elected(tops, part, labels, regions), labels)

        return assemble(streams, target, elect), expectations

    def _passages(
        self,
        cases: Sequence[Preprocessed],
        *,
        held_whole: bool,
        least: bool,
        progress: Progress,
    ) -> list[Passage]:
        """How each configuration goes through the case; it is said if there is a bound."""
        target = cases[0].original
        sweeps = [one.to_sweep(case) for one, case in zip(self.configured, cases, strict=True)]
        if self.memory_bytes is None:
            return wholes(sweeps) if held_whole else passages(sweeps, target)
        loads = [Load.of(s, one.plan) for s, one in zip(sweeps, self.configured, strict=True)]
        chosen = passages_within(
            loads, target, self.memory_bytes, held_whole=held_whole, least=least
        )
        words = "; ".join(described(p, s) for p, s in zip(chosen, sweeps, strict=True))
        progress.note(f"Within {self.memory_bytes / 2**30:.3g} GiB: {words}.")
        return chosen

    def _attention(self, case: Preprocessed, progress: Progress) -> AttentionMaps:
        maps = sweep_attention(
            shown(case),
            self.ensemble,
            self.bundle.plan.window,
            count=len(self.gate_names),
            progress=progress,
        )
        return AttentionMaps(self.gate_names, maps, case.geometry, case.original)
