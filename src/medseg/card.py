"""The model card of a bundle: its facts for people, as Markdown."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from medseg.specs.postprocess import PostprocessSpec

if TYPE_CHECKING:
    from medseg.bundle import Bundle, Configuration, Provenance


def model_card(bundle: "Bundle") -> str:
    """The bundle's facts for people, as Markdown."""
    plan, origin = bundle.plan, bundle.provenance
    count = sum(len(one.members) for one in bundle.stages)
    return _CARD.format(
        name=bundle.name,
        structures=", ".join(plan.judged),
        channels=", ".join(f"{c.name} ({c.modality or 'any'})" for c in plan.channels),
        spacing=" x ".join(f"{mm:.3g}" for mm in plan.spacing_mm),
        patch=" x ".join(str(n) for n in plan.patch_size),
        kind=" and ".join(map(_kind, bundle.configurations)),
        members="1 member" if count == 1 else f"{count} members",
        seen=_seen(origin),
        trained=_trained(origin, plan.recipe.batch_size),
        licence=origin.data_licence or "not stated",
        command=f"Command: `{origin.command}`" if origin.command else "Made by a library call",
        origin=origin,
        version=f", version {origin.data_version:.12}" * bool(origin.data_version),
        start=f"- Started from the weights of {origin.started_from}\n" * bool(origin.started_from),
        known="".join(f"- {x}\n" for x in bundle.metrics.get("known_of_training", ())),
        figures=_figures(bundle),
        afterwards=_afterwards(bundle),
    )


_CARD = """# {name}

Segments {structures} in images of the channels {channels}.

## Intended use

Research, and support of people who check each mask. It is not a medical device and makes no
diagnosis.

## Limits

- {seen} Other scanners, protocols, ages
  and diseases may lower its accuracy without a sign.
- It works at {spacing} mm: structures much smaller than such a voxel are lost.
- A mask whose volumes lie outside the ranges below deserves a second look.

## Training

- Data: {origin.data_name}; licence: {licence}; fingerprint {origin.data_hash:.12}{version}
- Network: {kind}, patch {patch}, {members}
- {trained}
{start}{known}- medseg {origin.medseg_version}, {origin.created}
- {command}

## Validation

{figures}
{afterwards}"""


def _kind(one: "Configuration") -> str:
    """Network and configuration; of a cascade also what comes before it."""
    kind = f"{one.plan.network.kind}, {one.plan.config}"
    if one.first_stage is None:
        return kind
    return f"{kind} after {_kind(one.first_stage)} ({len(one.first_stage.members)} of its members)"


def _seen(origin: "Provenance") -> str:
    """Whose images it knows, as far as this is known."""
    if not origin.training_cases:
        return "Which cases it has seen is not known: its weights were trained elsewhere."
    return f"It has seen {len(origin.training_cases)} cases of {origin.data_name} and nothing else."


def _trained(origin: "Provenance", batch: int) -> str:
    """How its weights were found, as far as this is known."""
    if not origin.steps:
        return "Steps, time and device are not known"
    return (
        f"{origin.steps} steps of {batch} patches, {origin.seconds:.0f} s on {origin.device},\n"
        f"  {origin.precision}, seed {origin.seed}"
    )


def _figures(bundle: "Bundle") -> str:
    dice: Mapping[str, float | None] = bundle.metrics.get("dice", {})
    if not dice:
        return "No validation figures were recorded."
    rows = [
        f"Dice on {_measured_on(bundle)}.\n",
        "| structure | Dice | volume in training, ml |\n|---|--:|--:|",
    ]
    for name, value in dice.items():
        volume = " to ".join(f"{ml:.3g}" for ml in bundle.volume_ranges_ml.get(name, ()))
        rows.append(f"| {name} | {'-' if value is None else f'{value:.4f}'} | {volume} |")
    return "\n".join(rows)


def _afterwards(bundle: "Bundle") -> str:
    """What happens to masks and probabilities after the networks; nothing where nothing does."""
    figures = {one["sentence"]: one for one in bundle.metrics.get("postprocessing", ())}
    lines = [f"- {step.sentence}{_gain(figures, step)}" for step in bundle.postprocessing]
    hot = [one.temperature for one in bundle.configurations if one.temperature != 1.0]
    if hot:
        numbers = " and ".join(f"{value:.3g}" for value in hot)
        lines.append(f"- Probabilities are taken at a temperature of {numbers} (masks stay).")
    if not lines:
        return ""
    kept = "Kept because they helped on cases that the networks had not seen:"
    return "\n".join(["\n## After the networks\n", f"{kept}\n", *lines, ""])


def _gain(figures: Mapping[str, Any], step: PostprocessSpec) -> str:
    """What a step gained, as " Dice +0.0120 (+0.0040 to +0.0210, n = 180).", if it is known."""
    found = figures.get(step.sentence)
    if found is None:
        return ""
    low, high = found["ci_low"], found["ci_high"]
    return f" Dice {found['gain']:+.4f} ({low:+.4f} to {high:+.4f}, n = {found['n']})."


def _measured_on(bundle: "Bundle") -> str:
    """How many cases of which kind: "18 cases that were held out", "1 case that was held out"."""
    count = len(bundle.provenance.validation_cases)
    kind = str(bundle.metrics.get("measured_on", "cases that were held out"))
    if count == 1:
        kind = kind.replace("cases", "case", 1).replace(" were ", " was ", 1)
    return f"{count} {kind}"
