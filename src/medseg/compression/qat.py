"""Quantisation-aware training: the training loop, with convolutions between grids."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medseg.bundle import Configuration, build_members
from medseg.compression.calibrate import calibrated
from medseg.compression.fake import LayerGrids, fake_quantise
from medseg.compression.graph import onnx_graph
from medseg.compression.patches import Patches, TrialData, real_patches
from medseg.compression.qdq import barred, shared_inputs
from medseg.dataset.plan import Plan
from medseg.dataset.store import Store
from medseg.errors import WrongInput
from medseg.inference.exported import EngineKind
from medseg.networks.network import Network
from medseg.networks.start import Start
from medseg.progress import SILENT, Progress
from medseg.specs import NetworkSpec
from medseg.training.course import Course, Trained
from medseg.training.data import Batches
from medseg.training.fit import fit
from medseg.training.log import Journal
from medseg.training.module import Learner
from medseg.training.probe import choose_device, usable_cores
from medseg.training.schedule import BySteps, ByTime, Clock, Timetable

LEARNING_RATE = 1e-4
"""AdamW's rate at its height: trained weights shall move by no more than a few steps of a grid."""

_CALIBRATED = 16
"""Patches that grids are chosen by before the training."""


@dataclass(frozen=True, eq=False)
class BetweenGrids(Start):
    """Trained weights, and grids that convolutions compute between from the first step on.

    Attributes:
        grids: Those of each convolution that is quantised.
    """

    grids: Mapping[str, LayerGrids]

    def fill(self, network: Network, spec: NetworkSpec) -> tuple[str, ...]:
        """Take the weights, then put convolutions between grids; see `Start.fill`."""
        fresh = super().fill(network, spec)
        fake_quantise(network, self.grids)
        return fresh


@dataclass(frozen=True)
class Schooling:
    """How long networks are trained, and where their files lie meanwhile.

    Attributes:
        folder: Where cases, checkpoints and curves lie.
        clock: Seconds of the command.
        steps: So many steps for each network, instead of until a moment.
        device: "auto", "cpu" or "cuda".
        seed: Of order and augmentation.
    """

    folder: Path
    clock: Clock
    steps: int | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0


def between_grids(
    data: TrialData,
    configuration: Configuration,
    number: int,
    target: EngineKind,
    progress: Progress = SILENT,
) -> BetweenGrids:
    """What a network starts from that is trained so that INT8 costs it less.

    Args:
        data: Its training cases show what numbers its convolutions are given.
        configuration: The network's.
        number: Which of its networks.
        target: The runtime.
        progress: Told of each case.

    Raises:
        WrongInput: If it is the second stage of a cascade, which needs masks of the first.
    """
    _require_images_alone(configuration.plan)
    grids = grids_of(data, configuration, number, target, progress)
    return BetweenGrids(configuration.plan.network, configuration.members[number], grids)


def trained_on(
    data: TrialData,
    configuration: Configuration,
    number: int,
    start: Start,
    schooling: Schooling,
    *,
    end: float,
    progress: Progress = SILENT,
) -> Trained:
    """Train one network for a short while, from weights that are trained.

    Args:
        data: Its training cases are learned from.
        configuration: The network's.
        number: Which of its networks.
        start: The weights; `between_grids` for INT8.
        schooling: How.
        end: When it must be done, in seconds of the clock; of no account with so many steps.
        progress: Told of each step.

    Raises:
        WrongInput: If it is the second stage of a cascade.
        TrainingError: If training cannot go on.
    """
    plan = fine_tuning(configuration.plan)
    _require_images_alone(plan)
    ids = [name for name in data.training if data.description.case(name).label is not None]
    store = Store.build(
        schooling.folder / f"store_{plan.config}",
        data.description,
        plan,
        ids=ids,
        workers=usable_cores(),
        progress=progress,
    )
    device = choose_device(schooling.device)
    learner = Learner(plan, device=device, precision="fp32", seed=schooling.seed, start=start)
    batches = Batches(store, ids, plan, seed=schooling.seed, fold=number)
    folder = schooling.folder / f"{plan.config}_{number}"
    folder.mkdir(parents=True, exist_ok=True)
    with Journal(folder) as journal:
        journal.go_back(number, 0)
        course = Course(
            recipe=plan.recipe,
            timetable=_timetable(schooling, end),
            clock=schooling.clock,
            checkpoint=folder / "checkpoint.safetensors",
            journal=journal,
            fold=number,
            name=f"train in INT8, network {number}",
            workers=min(1, usable_cores() - 1),
        )
        return fit(learner, batches, course, progress=progress)


def _require_images_alone(plan: Plan) -> None:
    """Pass if a network sees images, and no masks of a first stage.

    Raises:
        WrongInput: If it sees masks.
    """
    if plan.mask_channels:
        raise WrongInput(
            "Quantisation-aware training is for networks that see images alone.",
            received="the second stage of a cascade",
            cure="Quantise it after its training: leave --qat out.",
        )


def fine_tuning(plan: Plan) -> Plan:
    """The plan of a short training that starts from trained weights: AdamW at a low rate."""
    changes = {
        "optimizer": "adamw",
        "learning_rate": LEARNING_RATE,
        "schedule": "cosine",
        "warmup_share": 0.05,
    }
    recipe = type(plan.recipe).model_validate(plan.recipe.model_dump() | changes)
    return plan.model_copy(update={"recipe": recipe})


def grids_of(
    data: TrialData,
    configuration: Configuration,
    number: int,
    target: EngineKind,
    progress: Progress = SILENT,
) -> Mapping[str, LayerGrids]:
    """Grids of a network by what its training cases show.

    Those of what convolutions give are left out: they are ONNX Runtime's alone.
    """
    network = build_members(configuration)[number]
    patches: Patches = real_patches(data, configuration, _CALIBRATED, progress=progress)
    model = onnx_graph(network, patches.batches[0].shape[1:])
    found = calibrated(
        network,
        patches.batches,
        shared_inputs(model),
        target=target,
        barred=barred(model, target),
        progress=progress,
    )
    return {name: LayerGrids(one.given) for name, one in found.grids.items()}


def _timetable(schooling: Schooling, end: float) -> Timetable:
    if schooling.steps is not None:
        return BySteps(schooling.steps)
    return ByTime(schooling.clock, end=end)
