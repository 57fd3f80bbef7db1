"""One configuration of a bundle, ready to be shown prepared cases."""

from medseg.bundle import Configuration, build_members
from medseg.dataset.plan import Plan
from medseg.dataset.preprocess import Preprocessed
from medseg.inference.engine import Activation, Device, Precision, TorchEngine
from medseg.inference.ensemble import Ensemble
from medseg.inference.window import sweep
from medseg.progress import SILENT, Progress
from medseg.space.votes import SLOTS, TopClasses


class Configured:
    """The networks of one plan on one device; their mean is one opinion.

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
        )

    def sweep(self, case: Preprocessed, *, progress: Progress = SILENT) -> TopClasses:
        """Probabilities of the heaviest classes, or regions, of each voxel of a prepared case."""
        return sweep(
            case.image,
            self.ensemble,
            self.plan.window,
            classes=self.plan.network.classes,
            slots=slots_of(self.plan),
            geometry=case.geometry,
            progress=progress,
        )


def slots_of(plan: Plan) -> int:
    """Classes that are kept in each voxel.

    Of regions these are all that a voxel may lie in, and as many more as may compete there.
    """
    if not plan.regions:
        return SLOTS
    depth = max(sum(x.value in r.values for r in plan.regions) for x in plan.labels)
    return depth + SLOTS - 1
