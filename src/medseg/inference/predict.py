"""A volume in, a label map in the volume's own space out."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
import psutil

from medseg.bundle import Bundle
from medseg.dataset.description import fit_picture
from medseg.dataset.plan import Plan
from medseg.dataset.preprocess import Preprocessed, network_grid
from medseg.errors import MissingDependency, WrongInput
from medseg.inference.attention import AttentionMaps, require_gates, sweep_attention
from medseg.inference.configured import Configured, shown, slots_of
from medseg.inference.elected import elected
from medseg.inference.engine import Device, Precision
from medseg.inference.postprocess import postprocessed
from medseg.inference.quality import Quality, estimate_quality
from medseg.progress import SILENT, Progress
from medseg.space.votes import TopClasses
from medseg.types import IntArray
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Labels
from medseg.volume.regions import Regions
from medseg.volume.volume import LabelMap, Volume

EngineName = Literal["auto", "torch", "onnx", "openvino", "tensorrt"]
"""What runs the network; "auto" is the best engine that the bundle has."""

_MODALITIES = {"MRI": "MR", "PET": "PT"}
"""Other words for DICOM's."""


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
        engine: What runs it.
        device: Where it runs.
        precision: What it computes with; see `TorchEngine`.
        mirrors: Whether each window is also shown mirrored along every axis that was mirrored in
            training: up to eight times the work for a little accuracy (test-time augmentation).
        attention: Whether predictions also hold what attention gates let through: each window is
            shown a second time. Of several configurations the first one is looked into.

    Raises:
        BundleError: If attention is asked for and the network has no gates.
        MissingDependency: If the bundle has no such engine, or the machine no such device.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        engine: EngineName = "auto",
        device: Device = "auto",
        precision: Precision = "auto",
        mirrors: bool = False,
        attention: bool = False,
    ) -> None:
        if engine not in ("auto", "torch"):
            raise MissingDependency(
                "An engine other than torch comes with the bundle.",
                received=f"--engine {engine} for {bundle.name}, which holds torch weights only",
                cure="Leave --engine out, or say --engine torch.",
            )
        self.bundle, self.precision, self.mirrors = bundle, precision, mirrors
        self.gate_names: tuple[str, ...] = ()
        self.configured = tuple(
            Configured(one, device=device, precision=precision, mirrors=mirrors)
            for one in bundle.configurations
        )
        self.engines = tuple(engine for one in self.configured for engine in one.engines)
        self.ensemble = self.configured[0].ensemble
        if attention:
            network = self.engines[0].network
            require_gates(network, kind=bundle.plan.network.kind, name=bundle.name)
            self.gate_names = network.gate_names

    def predict(self, volume: Volume, *, progress: Progress = SILENT) -> Prediction:
        """Segment one case.

        Args:
            volume: The case as it was read, on any grid.
            progress: Told after each batch of windows.

        Raises:
            WrongInput: If the bundle was not made for such a case.
            DatasetError: If a voxel holds no finite number.
        """
        start = time.perf_counter()
        volume = fit_picture(volume, self.bundle.plan.channels)
        for one in self.configured:
            require_fitting(volume, one.plan)
            require_room(volume.geometry, one.plan, maps=len(self.gate_names))
        first, *further = self.configured
        case = first.prepared(volume, progress=progress)
        tops = [first.sweep(case, progress=progress)]
        for one in further:
            other = one.prepared(volume, progress=progress)
            tops.append(one.sweep(other, progress=progress))
        label_map = postprocessed(
            voted(tops, volume, self.bundle.labels, regions=first.plan.regions),
            self.bundle.postprocessing,
        )
        quality = estimate_quality(
            tops,
            label_map,
            volume_ranges_ml=self.bundle.volume_ranges_ml,
            instances=first.plan.instances,
            temperatures=[one.temperature for one in self.configured],
            regions=first.plan.regions,
        )
        attention = self._attention(case, progress) if self.gate_names else None
        seconds = time.perf_counter() - start
        return Prediction(label_map, label_map.volumes_ml(), quality, seconds, attention)

    def predict_preprocessed(self, case: Preprocessed, *, progress: Progress = SILENT) -> IntArray:
        """Class indices on the first configuration's grid, (I, J, K): for looks in training."""
        top, plan = self.configured[0].sweep(case, progress=progress), self.bundle.plan
        return elected([top], top.geometry, plan.labels, plan.regions)

    def _attention(self, case: Preprocessed, progress: Progress) -> AttentionMaps:
        maps = sweep_attention(
            shown(case),
            self.ensemble,
            self.bundle.plan.window,
            count=len(self.gate_names),
            progress=progress,
        )
        return AttentionMaps(self.gate_names, maps, case.geometry, case.original)


def voted(
    tops: Sequence[TopClasses], volume: Volume, labels: Labels, *, regions: Regions = ()
) -> LabelMap:
    """The mask that opinions elect together, or paint region by region, on the grid of the case.

    Args:
        tops: What each configuration says, on its own grid; each counts alike.
        volume: The case.
        labels: The structures; the n-th is class n + 1.
        regions: What the networks find instead, if they do.
    """
    values = _values(elected(tops, volume.geometry, labels, regions), labels)
    return LabelMap(values, volume.geometry, labels, volume.source)


def require_fitting(volume: Volume, plan: Plan) -> None:
    """Pass if a bundle of this plan was made for such a case.

    Raises:
        WrongInput: If channels, modality or dimensions differ.
    """
    wanted = ", ".join(f"{c.name} ({c.modality})" if c.modality else c.name for c in plan.channels)
    channels = volume.array.shape[0]
    if channels != len(plan.channels):
        raise WrongInput(
            f"This bundle takes {len(plan.channels)} channel(s): {wanted}.",
            received=f"{channels} channel(s)",
            cure="Give one file for each channel, named CASE_0000, CASE_0001 and so on.",
        )
    given = _modality(volume.source.modality)
    known = {_modality(c.modality) for c in plan.channels}
    if given and all(known) and given not in known:
        raise WrongInput(
            f"This bundle was made for {wanted}.",
            received=f"a {given} image",
            cure="Choose a bundle that was trained on this modality.",
        )
    if plan.config != "2d" and volume.geometry.is_2d:
        raise WrongInput(
            "This bundle was made for volumes.",
            received="a single slice",
            cure="Give it the whole series, or choose a 2D bundle.",
        )


def require_room(geometry: Geometry, plan: Plan, *, maps: int = 0) -> None:
    """Pass if a case fits into this machine's memory at the bundle's spacing.

    A header that gives metres for millimetres would otherwise end the process without a word.

    Args:
        geometry: Where the case lies.
        plan: What it is brought to.
        maps: Attention maps that are kept beside the classes.

    Raises:
        WrongInput: If it does not fit.
    """
    grid = network_grid(geometry.reordered(*geometry.steps_to(plan.orientation)), plan)
    voxels = prod(grid.grid_size)
    needed = voxels * (
        8 * (len(plan.channels) + (plan.mask_channels > 0))
        + 6 * min(plan.network.classes, slots_of(plan))
        + 4 * maps
    )
    memory = psutil.virtual_memory().total
    if needed > memory:
        spacing = " x ".join(f"{mm:.3g}" for mm in geometry.spacing_mm)
        raise WrongInput(
            "At the spacing of the bundle a case must fit into memory.",
            received=f"voxels of {spacing} mm, which become {' x '.join(map(str, grid.grid_size))} "
            f"and need {needed / 2**30:.0f} of {memory / 2**30:.0f} GiB",
            cure="Check the spacing in the file's header, or crop the case.",
        )


def _modality(word: str) -> str:
    return _MODALITIES.get(word.upper(), word.upper())


def _values(classes: IntArray, labels: Labels) -> IntArray:
    """Class indices -> the values that files hold, in the smallest type."""
    values = [0, *(label.value for label in labels)]
    dtype = np.uint8 if values[-1] < 256 else np.uint16
    if values == list(range(len(values))):
        return classes.astype(dtype, copy=False)
    table: IntArray = np.array(values, dtype)
    return np.asarray(table[classes])
