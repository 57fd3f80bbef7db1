"""Checkpoints in, a bundle out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from torch import Tensor

import medseg
from medseg.bundle import Bundle, Provenance
from medseg.dataset.plan import Plan
from medseg.errors import WrongCheckpoint
from medseg.networks.build import build
from medseg.progress import SILENT, Progress
from medseg.specs import NetworkSpec
from medseg.weights.names import Filled, State, fill
from medseg.weights.nnunet_plan import NNUNet, find_nnunet, nnunet_plan
from medseg.weights.origins import Origin, find_origin, require_convertible
from medseg.weights.reading import Checkpoint, read_checkpoint
from medseg.weights.surroundings import Wishes, plan_around

Axes = Literal["auto", "xyz", "zyx"]
"""Order of the spatial axes of the arrays that a network was trained with; "auto": z, y, x where
nnU-Net wrote the checkpoint, else x, y, z."""

_TURNABLE = ("plain_unet", "resenc_unet", "mednext", "attention_unet")
"""Networks of convolutions only: turning their kernels turns all that they compute."""

_UNSEEN = {"transunet": ("heads", "grid", "dropout"), "unetr": ("heads", "dropout")}
"""Settings that no shape tells, or (`grid`) that positions are interpolated to."""

_HEAVY = ("optimizer_state",)
"""What is not kept of a checkpoint: as large as the weights themselves."""

_SEED, _FEW_NAMES = 0, 5


@dataclass(frozen=True, eq=False)
class Conversion:
    """What became of checkpoints.

    Attributes:
        bundle: The bundle, not saved yet.
        origin: Whose names the tensors had.
        taken: How many tensors each member took.
        dead: Names of theirs that carry no weight of the network.
        homeless: Names of theirs that have no home in our network.
        fresh: Names of ours that nothing was found for; they are as before a training.
        reason: Why they are, for people; empty where there are none.
        facts: What lay beside the tensors of each checkpoint.
    """

    bundle: Bundle
    origin: str
    taken: int
    dead: tuple[str, ...]
    homeless: tuple[str, ...]
    fresh: tuple[str, ...]
    reason: str
    facts: tuple[Mapping[str, Any], ...] = ()


def convert(
    paths: Sequence[Path],
    arch: str,
    wishes: Wishes | None = None,
    *,
    axes: Axes = "auto",
    allow_missing: bool = False,
    command: str = "",
    progress: Progress = SILENT,
) -> Conversion:
    """Read checkpoints of a network's authors, and make a bundle of them.

    Args:
        paths: One checkpoint for each member; several are an ensemble, such as nnU-Net's folds.
        arch: Kind of network.
        wishes: What is said about labels, spacing and the rest.
        axes: Order of the spatial axes that the network was trained with.
        allow_missing: Whether weights that nothing is found for stay as before a training.
        command: The command line, for the bundle's provenance.
        progress: Told after each checkpoint.

    Raises:
        MissingPath: If a checkpoint is not there.
        UnreadableFile: If one is truncated or damaged.
        WrongCheckpoint: If one holds other things than tensors, other names or shapes, or too few.
        PlanError: If network and surroundings do not fit together.
    """
    require_convertible(arch)
    wishes = wishes or Wishes()
    plan: Plan | None = None
    members: list[Mapping[str, Tensor]] = []
    facts: list[Mapping[str, Any]] = []
    with progress.task("Converting", len(paths)) as task:
        for path in paths:
            checkpoint = read_checkpoint(path)
            origin = find_origin(checkpoint.tensors, arch)
            nnunet = find_nnunet(checkpoint)
            if axes == "zyx" or (axes == "auto" and _is_nnunet(checkpoint, nnunet)):
                state = _turned(checkpoint.tensors, arch)
            else:
                state = checkpoint.tensors
            spec = _hinted(_told_spec(origin, state), wishes.plan)
            surrounding = _plan(checkpoint, nnunet, spec, origin, wishes)
            if plan is not None and surrounding.network != plan.network:
                raise WrongCheckpoint(
                    "Checkpoints of an ensemble have the same network.",
                    received=f"another one in {path}",
                    cure="Convert it to a bundle of its own.",
                )
            plan = plan or surrounding
            filled, reason = _filled(state, origin, spec, plan.network, allow_missing=allow_missing)
            members.append(_completed(filled, plan.network))
            facts.append({k: v for k, v in checkpoint.facts.items() if k not in _HEAVY})
            task.advance()
    if plan is None:
        raise WrongCheckpoint("A bundle has a network.", received="no checkpoint")
    return Conversion(
        bundle=Bundle(plan, _provenance(plan, command), tuple(members)),
        origin=origin.name,
        taken=len(filled.weights),
        dead=filled.dead,
        homeless=filled.homeless,
        fresh=filled.missing,
        reason=reason,
        facts=tuple(facts),
    )


def shapes_of(spec: NetworkSpec) -> dict[str, Tensor]:
    """Names, shapes and types of a network's weights, without their values."""
    with torch.device("meta"):
        return build(spec).state_dict()


def _told_spec(origin: Origin, state: State) -> NetworkSpec:
    """The network that the shapes of tensors tell."""
    try:
        spec: NetworkSpec = origin.spec(state)
    except ValidationError as error:
        first = error.errors()[0]
        raise WrongCheckpoint(
            f"Shapes of tensors tell the published network of {origin.name}.",
            received=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            cure="Only the published network can be converted, not a variant of it.",
        ) from error
    return spec


def _is_nnunet(checkpoint: Checkpoint, nnunet: NNUNet | None) -> bool:
    return nnunet is not None or checkpoint.container == "network_weights"


def _turned(state: State, arch: str) -> State:
    """Tensors with the spatial axes of kernels the other way round: z, y, x becomes I, J, K."""
    if arch not in _TURNABLE:
        raise WrongCheckpoint(
            f"Axes of {', '.join(_TURNABLE)} can be turned: they are convolutions only.",
            received=f"--axes zyx for {arch}",
            cure="Say by --orientation where the axes of its images point to.",
        )
    return {
        name: tensor.permute(0, 1, *reversed(range(2, tensor.ndim))) if tensor.ndim > 3 else tensor
        for name, tensor in state.items()
    }


def _hinted(spec: NetworkSpec, plan: Plan | None) -> NetworkSpec:
    """What shapes do not tell, from the network of a plan of the same kind."""
    if plan is None or plan.network.kind != spec.kind:
        return spec
    unseen = _UNSEEN.get(spec.kind, ())
    return spec.model_copy(update={name: getattr(plan.network, name) for name in unseen})


def _plan(
    checkpoint: Checkpoint,
    nnunet: NNUNet | None,
    spec: NetworkSpec,
    origin: Origin,
    wishes: Wishes,
) -> Plan:
    base = wishes.plan
    if base is None and nnunet is not None:
        base = nnunet_plan(nnunet, spec, wishes.orientation)
        wishes = replace(wishes, orientation=None)
    return plan_around(spec, base, wishes, name=checkpoint.path.stem, sees_rows=origin.sees_rows)


def _filled(
    state: State, origin: Origin, told: NetworkSpec, wanted: NetworkSpec, *, allow_missing: bool
) -> tuple[Filled, str]:
    """Weights of the wanted network, and why some are fresh."""
    shapes, head = shapes_of(wanted), []
    if told.classes != wanted.classes and not origin.is_encoder:
        before = shapes_of(told)
        head = [name for name, tensor in shapes.items() if tensor.shape != before[name].shape]
    filled = fill(state, origin.names(wanted, state), shapes, origin=origin.name, skip=head)
    lacking = [name for name in filled.missing if name not in head]
    if lacking and not allow_missing:
        what = "an encoder only; " if origin.is_encoder else ""
        raise WrongCheckpoint(
            "A checkpoint holds each weight of the network.",
            received=f"{what}{len(lacking)} of {len(shapes)} are missing, such as "
            f"{', '.join(lacking[:_FEW_NAMES])}",
            cure="With --allow-missing they stay as before a training, to train from there.",
        )
    reasons = []
    if head:
        reasons.append(f"the checkpoint has {told.classes} classes, the plan {wanted.classes}")
    if lacking:
        reasons.append("the checkpoint does not hold them")
    return filled, "; ".join(reasons)


def _completed(filled: Filled, spec: NetworkSpec) -> dict[str, Tensor]:
    """All weights of the network; those that are missing as before a training."""
    if not filled.missing:
        return dict(filled.weights)
    torch.manual_seed(_SEED)
    return {**build(spec).state_dict(), **filled.weights}


def _provenance(plan: Plan, command: str) -> Provenance:
    return Provenance(
        medseg_version=medseg.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        data_name=plan.dataset,
        data_hash="not known",
        seed=_SEED,
        command=command,
    )
