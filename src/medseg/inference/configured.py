"""One configuration of a bundle, ready to be shown cases."""

from dataclasses import replace
from functools import cached_property

import numpy as np

from medseg.bundle import Configuration, build_members
from medseg.dataset.plan import Plan
from medseg.dataset.preprocess import Preprocessed, preprocess
from medseg.inference.elected import elected
from medseg.inference.engine import Activation, Device, Precision, TorchEngine
from medseg.inference.ensemble import Ensemble
from medseg.inference.window import sweep
from medseg.progress import SILENT, Progress
from medseg.space.votes import SLOTS, TopClasses
from medseg.types import FloatArray
from medseg.volume.volume import Volume


class Configured:
    """The networks of one plan on one device; their mean is one opinion.

    Those of a cascade also see the mask that the stage before, ready on the same device, finds.

    Args:
        configuration: Plan and weights.
        device: Where they run.
        precision: What they compute with; see `TorchEngine`.
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
        device: Device = "auto",
        precision: Precision = "auto",
        mirrors: bool = False,
    ) -> None:
        self.plan, self.temperature = configuration.plan, configuration.temperature
        activation: Activation = "sigmoid" if self.plan.regions else "softmax"
        self.engines = tuple(
            TorchEngine(network, device=device, precision=precision, activation=activation)
            for network in build_members(configuration)
        )
        axes = self.plan.augment.mirror.axes if mirrors else ()
        self.ensemble = Ensemble(
            self.engines,
            mirror_axes=[a for a in axes if a < self.plan.network.dims],
            activation=activation,
            mask_channels=self.plan.mask_channels,
        )
        self._before = configuration.first_stage
        self._device: Device = device
        self._precision: Precision = precision
        self._mirrors = mirrors

    @cached_property
    def first_stage(self) -> "Configured | None":
        """What comes before a cascade, made when a case is first prepared for it."""
        if self._before is None:
            return None
        return Configured(
            self._before, device=self._device, precision=self._precision, mirrors=self._mirrors
        )

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
        """Probabilities of the heaviest classes, or regions, of each voxel of a prepared case."""
        return sweep(
            shown(case),
            self.ensemble,
            self.plan.window,
            classes=self.plan.network.classes,
            slots=slots_of(self.plan),
            geometry=case.geometry,
            progress=progress,
        )


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
    return depth + SLOTS - 1
