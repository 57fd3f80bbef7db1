"""One configuration of a bundle, ready to be shown cases."""

from dataclasses import replace
from functools import cached_property

import numpy as np

from medseg.bundle import Configuration
from medseg.dataset.normalise import SMALLEST_STD, ClipAndScale
from medseg.dataset.plan import Plan
from medseg.dataset.preprocess import Preprocessed, preprocess
from medseg.errors import WrongInput
from medseg.inference.assembly import Stream
from medseg.inference.elected import elected
from medseg.inference.engines import EngineMaker, TorchMaker, activation_of
from medseg.inference.ensemble import Ensemble
from medseg.inference.passage import Passage, Sweep
from medseg.inference.quality import Expectation
from medseg.inference.window import slabs, sweep
from medseg.progress import SILENT, Progress
from medseg.space.votes import SLOTS, TopClasses
from medseg.types import FloatArray
from medseg.volume.volume import Volume

RIVALS = 3
"""Regions that may compete for a voxel with those that it lies in."""

AIR_HU = -500.0
"""A window without a voxel above holds no tissue; most of the lung is below, its vessels above."""

SAME_INTENSITY = 1e-4
"""Normalised intensities that differ by less are the same but for rounding."""


class Configured:
    """The networks of one plan, each in an engine; their mean is one opinion.

    Those of a cascade also see the mask that the stage before, run by the same engine, finds.

    Args:
        configuration: Plan and weights.
        maker: Who makes its engines; torch where nothing is said.
        mirrors: Whether each window is also shown mirrored along every axis that was mirrored in
            training.

    Attributes:
        plan: How a case is prepared.
        temperature: See `medseg.inference.quality`.
        engines: One for each network.
        ensemble: All of them, with mirrors.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        maker: EngineMaker | None = None,
        mirrors: bool = False,
    ) -> None:
        self.plan, self.temperature = configuration.plan, configuration.temperature
        maker = maker or TorchMaker()
        self.engines = maker(configuration)
        axes = self.plan.augment.mirror.axes if mirrors else ()
        self.ensemble = Ensemble(
            self.engines,
            mirror_axes=[a for a in axes if a < self.plan.network.dims],
            activation=activation_of(configuration),
            mask_channels=self.plan.mask_channels,
        )
        self._before, self._maker, self._mirrors = configuration.first_stage, maker, mirrors

    @cached_property
    def first_stage(self) -> "Configured | None":
        """What comes before a cascade, made when a case is first prepared for it."""
        if self._before is None:
            return None
        return Configured(self._before, maker=self._maker, mirrors=self._mirrors)

    def prepared(self, volume: Volume, *, progress: Progress = SILENT) -> Preprocessed:
        """A case as it was read becomes one to `sweep`; of a cascade, with the mask it refines.

        Raises:
            WrongInput: If the number of channels is not the plan's.
            DatasetError: If a voxel holds no finite number.
        """
        case = preprocess(volume, None, self.plan)
        if self.first_stage is None:
            return case
        before = self.first_stage.prepared(volume, progress=progress)
        top = self.first_stage.sweep(before, progress=progress)
        mask = elected([top], case.geometry, self.plan.labels, self.plan.regions)
        return replace(case, mask=mask)

    def sweep(self, case: Preprocessed, *, progress: Progress = SILENT) -> TopClasses:
        """Evidence of the heaviest classes, or regions, of each voxel of a prepared case."""
        return sweep(
            shown(case),
            self.ensemble,
            self.plan.window,
            classes=self.plan.network.classes,
            slots=slots_of(self.plan),
            geometry=case.geometry,
            batch_voxels=self.ensemble.batch_voxels,
            progress=progress,
        )

    def to_sweep(self, case: Preprocessed) -> Sweep:
        """What is to be gone through of a prepared case, for `passage.passages`."""
        return Sweep(
            case.geometry,
            self.plan.window,
            _voxel_bytes(self.plan),
            self.ensemble.batch_voxels,
        )

    def stream(
        self,
        case: Preprocessed,
        passage: Passage,
        expectation: Expectation,
        *,
        skip_air: bool = False,
        progress: Progress = SILENT,
    ) -> Stream:
        """The same as `sweep`, slab by slab, for `assembly.assemble`.

        Args:
            case: A prepared case.
            passage: How it is gone through.
            expectation: Told of each voxel.
            skip_air: Whether windows of air are background unseen; see `air_of`.
            progress: Told after each batch of windows.
        """
        found = slabs(
            shown(case),
            self.ensemble,
            self.plan.window,
            classes=self.plan.network.classes,
            slots=slots_of(self.plan),
            geometry=case.geometry,
            passage=passage,
            air=air_of(self.plan) if skip_air else None,
            progress=progress,
        )
        return Stream(found, case.geometry, passage, case.original, expectation)

    def expectation(self) -> Expectation:
        """What counts how sure these networks are."""
        return Expectation(
            self.plan.network.classes,
            regions=bool(self.plan.regions),
            temperature=self.temperature,
        )


def air_of(plan: Plan) -> tuple[float, ...]:
    """The largest normalised intensity of air for each channel of a plan, and a mask's 0.

    Raises:
        WrongInput: If a channel is not CT: elsewhere air has no intensity of its own.
    """
    limits = []
    for channel, how in zip(plan.channels, plan.normalisations, strict=True):
        if channel.modality != "CT" or not isinstance(how, ClipAndScale):
            raise WrongInput(
                "Air is told from tissue by Hounsfield units.",
                received=f"--skip-air for {channel.name} ({channel.modality or 'no modality'})",
                cure="Leave --skip-air out: windows that hold one intensity are spared anyway.",
            )
        limit = min(max(AIR_HU, how.low), how.high)
        limits.append((limit - how.mean) / max(how.std, SMALLEST_STD) + SAME_INTENSITY)
    return (*limits, *((0.0,) if plan.mask_channels else ()))


def _voxel_bytes(plan: Plan) -> int:
    """Of the slots of a voxel: a weight each, and its class where not all classes have a slot."""
    classes, slots = plan.network.classes, slots_of(plan)
    if classes <= slots:
        return 4 * classes
    return slots * (4 + (1 if classes <= 256 else 2))


def shown(case: Preprocessed) -> FloatArray:
    """What windows are cut from: the image, and the mask of a stage before as a last channel."""
    if case.mask is None:
        return case.image
    return np.concatenate([case.image, case.mask[np.newaxis]], dtype=np.float32)


def slots_of(plan: Plan) -> int:
    """Classes that are kept in each voxel.

    Of regions these are all that a voxel may lie in, and as many more as may compete there.
    """
    if not plan.regions:
        return SLOTS
    depth = max(sum(x.value in r.values for r in plan.regions) for x in plan.labels)
    return depth + RIVALS
