"""Decisions in words."""

from math import prod

from pydantic import BaseModel

from medseg.dataset.choice import Choice
from medseg.dataset.cost import gmacs, parameter_count, training_memory_bytes
from medseg.dataset.effort import Effort, step_seconds
from medseg.dataset.fingerprint import Fingerprint
from medseg.dataset.rules import CROP_PAYS
from medseg.dataset.scaling import LITE_WIDTH
from medseg.dataset.topology import FULL_WIDTH
from medseg.specs import (
    FROZEN,
    AugmentSpec,
    Budget,
    LiteSpec,
    LossSpec,
    MedNeXtSpec,
    MedTSpec,
    NetworkSpec,
    PlainUNetSpec,
    RecipeSpec,
    SwinUNETRSpec,
    TransUNetSpec,
    UNETRSpec,
)
from medseg.types import GridSize


class Reason(BaseModel):
    """One decision.

    Attributes:
        what: What was decided ("patch").
        value: The decision, for people ("40 x 56 x 40 voxels").
        why: One or two sentences.
    """

    model_config = FROZEN

    what: str
    value: str
    why: str


def crop_reason(fingerprint: Fingerprint) -> Reason:
    """Whether empty borders are cut off."""
    share = fingerprint.nonzero_share
    if share >= 1:
        return Reason(what="empty borders", value="kept", why="Images reach to their borders.")
    why = f"{1 - share:.1%} of the median case is empty border"
    why += ", so z-scores leave zeros out." if share < CROP_PAYS else "."
    return Reason(what="empty borders", value="cut off", why=why)


def structure_reasons(fingerprint: Fingerprint) -> tuple[Reason, ...]:
    """What is found as regions and what does not count; nothing where neither is."""
    reasons = []
    if fingerprint.regions:
        names = ", ".join(region.name for region in fingerprint.regions)
        why = f"Regions may overlap, so each has an output of its own; painted in order: {names}."
        reasons.append(Reason(what="regions", value=f"{len(fingerprint.regions)} regions", why=why))
    if fingerprint.ignored_value is not None:
        why = "Nobody has judged them: they count in no loss and no Dice, and no patch seeks them."
        value = f"voxels of value {fingerprint.ignored_value}"
        reasons.append(Reason(what="ignored", value=value, why=why))
    return tuple(reasons)


def network_reasons(
    choice: Choice, grid: GridSize, budget: Budget, seen: Effort
) -> tuple[Reason, ...]:
    """Why this network, patch and batch, and how far the time goes."""
    network, patch_size = choice.network, choice.patch_size
    used = training_memory_bytes(network, patch_size, choice.batch_size, device=budget.device)
    limit = min(choice.memory_batch, choice.most_batch)
    part = "5 % of the data set" if budget.preset is None else "the data set"
    why_batch = (
        f"The most that memory ({choice.memory_batch}) and {part} ({choice.most_batch}) allow."
        if choice.batch_size == limit
        else f"{limit} would fit; fewer leave more steps in the time."
    )
    return (
        Reason(what="patch", value=f"{by(patch_size)} voxels", why=_why_patch(choice, grid)),
        Reason(
            what="network",
            value=f"{network_words(network)}, {parameter_count(network):,} weights",
            why=_why_width(choice, budget),
        ),
        Reason(what="batch", value=f"{choice.batch_size} patches", why=why_batch),
        Reason(
            what="memory",
            value=f"{used / 2**30:.2g} GiB a step",
            why=f"{2 * gmacs(network, patch_size):.1f} GFLOP a forward pass of one patch; "
            f"planned for {choice.memory_bytes / 2**30:.3g} GiB.",
        ),
        Reason(
            what="seconds per step",
            value=f"{step_seconds(network, patch_size, choice.batch_size, budget):.2g}",
            why=f"As far as {budget.gflops:,.0f} GFLOP/s and the network's width tell.",
        ),
        Reason(
            what="steps",
            value=f"{seen.steps:,}" if budget.seconds is None else f"about {seen.steps:,}",
            why=f"Each case is seen {seen.views}"
            + (
                "."
                if budget.seconds is None
                else f" in {duration(budget.seconds)} at {budget.gflops:,.0f} GFLOP/s."
            ),
        ),
    )


def _why_patch(choice: Choice, grid: GridSize) -> str:
    here, full = prod(choice.patch_size), prod(choice.full_patch)
    if here < full:
        return f"Memory would allow {by(choice.full_patch)}; the time does not."
    if here > full:
        return f"Memory and time allow more than nnU-Net's {by(choice.full_patch)}."
    if all(n >= m for n, m in zip(choice.patch_size, grid, strict=True) if n > 1):
        return "The whole median case, rounded up so that the network can halve it."
    gibibytes = choice.patch_memory_bytes / 2**30
    return f"The largest in the shape of the median case that trains in {gibibytes:.3g} GiB."


def _why_width(choice: Choice, budget: Budget) -> str:
    is_plain = isinstance(choice.network, PlainUNetSpec)
    is_lite = isinstance(choice.network, LiteSpec)
    if isinstance(choice.network, LiteSpec) and choice.network.features[1] == LITE_WIDTH:
        return "Its own width: it is meant to be fast, and more time does not widen it."
    if choice.width == FULL_WIDTH:
        return f"{'nnU-Net' if is_plain else 'The paper'}'s width: memory and time allow it."
    if choice.width == choice.full_width:
        return "The widest that the memory holds."
    full = f"nnU-Net's {FULL_WIDTH}" if is_plain else "its own" if is_lite else "the paper's"
    seconds = duration(budget.seconds or 0)
    return f"Narrower than {full}: in {seconds} a wider one is not trained enough."


def network_words(network: NetworkSpec) -> str:
    """A network in a few words, such as "4 stages, 32-64-128-256 features"."""
    kind = "" if isinstance(network, PlainUNetSpec) else f"{network.kind}, "
    match network:
        case TransUNetSpec():
            return f"{kind}{network.layers} layers of {network.token_width} channels"
        case UNETRSpec():
            return f"{kind}12 layers of {network.token_width} channels"
        case SwinUNETRSpec():
            return f"{kind}{network.features} features, windows of {network.window} tokens"
        case MedTSpec():
            return f"{kind}{network.width} features, {network.heads} heads"
        case MedNeXtSpec():
            return f"{kind}{len(network.strides) + 1} stages, {network.width} features"
        case _:
            widths = "-".join(map(str, network.features))
            return f"{kind}{len(network.features)} stages, {widths} features"


def recipe_words(spec: RecipeSpec) -> str:
    """Optimiser, rate and schedule."""
    return f"{spec.optimizer} {spec.learning_rate:g}, {spec.schedule}"


def loss_words(spec: LossSpec) -> str:
    """The two terms of a loss."""
    entropy = "cross-entropy" if spec.kind == "dice_ce" else "binary cross-entropy"
    return f"Dice and {entropy}"


def mirror_words(spec: AugmentSpec) -> str:
    """Axes that samples are mirrored along."""
    names = " ".join("IJK"[axis] for axis in spec.mirror.axes)
    return f"mirrors along {names}" if names else "no mirrors"


def by(numbers: tuple[float, ...]) -> str:
    """Numbers as "40 x 56 x 40"."""
    return " x ".join(f"{n:g}" for n in numbers)


def duration(seconds: float) -> str:
    """Seconds in words: "15 min", "2 h"."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"
