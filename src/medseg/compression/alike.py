"""Whether a data set looks like the one that a bundle was trained on, by its bundle's fingerprint.

Names of channels and modalities may be right, missing or wrong; voxels tell. What a bundle keeps of
the fingerprint of its training data are its spacing and, of channels whose intensities have a unit,
their percentiles, mean and deviation in the structures. Bounds are wide: other scanners and
protocols pass; another unit of length or intensity, or another modality, does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.bundle import Bundle
from medseg.dataset.description import (
    Case,
    Channel,
    DatasetDescription,
    fit_picture,
    read_case,
    read_case_label,
)
from medseg.dataset.normalise import SMALLEST_STD, ClipAndScale, UnitRange, Way, ZScore
from medseg.dataset.plan import Plan
from medseg.errors import WrongInput
from medseg.progress import SILENT, Progress
from medseg.types import AnyArray, SpacingMm
from medseg.volume.volume import Volume

_CASES, _SAMPLE = 6, 200_000
"""Cases that are looked at, evenly spread; voxels that are kept of each channel of one."""

_SPACING_RATIO, _LOW_RATIO = 6.0, 24.0
"""Distances of voxels that differ by more along an axis, in every case that is looked at, are of
another kind of scan; of a plan on a coarser grid than its data's (`3d_low`) by more still."""

_CLIPPED_SHARE, _SHIFT, _SPREAD = 0.5, 2.0, 0.1
"""Most of the voxels of structures that may lie outside the percentiles; how far their mean may lie
from the trained one, and what their deviation must at least be, both in trained deviations."""

_AIR_HU, _AIR_SHARE, _BONE_HU = -500.0, 0.01, 200.0
"""Hounsfield units, unlike the magnitudes of MR, lie far below 0 in air and above this in bone."""


@dataclass(frozen=True, eq=False)
class Look:
    """What is seen of one case.

    Attributes:
        spacing_mm: Along the axes of the plan.
        intensities: Some voxels of each channel: those of structures where the case has a label
            that holds any, else of the whole image.
        whole: Some voxels of each channel, of the whole image.
        in_structures: Whether `intensities` are those of structures.
    """

    spacing_mm: SpacingMm
    intensities: tuple[AnyArray, ...]
    whole: tuple[AnyArray, ...]
    in_structures: bool


def require_alike(
    bundle: Bundle,
    description: DatasetDescription,
    ids: Sequence[str],
    *,
    progress: Progress = SILENT,
) -> None:
    """Pass if cases of a data set fit the fingerprint that a bundle keeps.

    Args:
        bundle: The bundle.
        description: A data set with as many channels.
        ids: Cases that may be looked at; a few of them are.
        progress: Told of each case.

    Raises:
        WrongInput: If spacing or intensities are those of another kind of image.
    """
    plan = next((s.plan for s in bundle.stages if s.plan.config != "3d_low"), bundle.plan)
    chosen = list(ids[:: max(1, len(ids) // _CASES)])[:_CASES]
    looks = []
    with progress.task("Looking at cases", len(chosen)) as task:
        for name in chosen:
            looks.append(look(description, description.case(name), plan))
            task.advance()
    if not looks:
        return
    _require_spacing(plan, looks, description.name)
    for n, rule in enumerate(plan.normalisations):
        why = _differing(rule, looks, n, plan.channels[n], description.channels[n])
        if why:
            raise _unlike(
                f"Intensities of {plan.channels[n].name} are those that the bundle was trained on.",
                description.name,
                why,
            )


def look(description: DatasetDescription, case: Case, plan: Plan) -> Look:
    """See one case, on the axes of a plan."""
    image = fit_picture(read_case(description, case), plan.channels)
    volume = image.reoriented(plan.orientation_of(image.geometry))
    whole = tuple(_sample(channel.ravel()) for channel in image.array)
    inside = _structures(description, case, image)
    if inside is None:
        return Look(volume.spacing_mm, whole, whole, in_structures=False)
    intensities = tuple(_sample(channel[inside]) for channel in image.array)
    return Look(volume.spacing_mm, intensities, whole, in_structures=True)


def _structures(description: DatasetDescription, case: Case, image: Volume) -> AnyArray | None:
    """Where any structure is, on the grid of the image; None if nowhere or without a label."""
    if case.label is None:
        return None
    labels = read_case_label(description, case)
    inside = labels.array > 0
    if description.ignored_value is not None:
        inside &= labels.array != description.ignored_value
    is_useful = inside.shape == image.array.shape[1:] and bool(inside.any())
    return inside if is_useful else None


def _require_spacing(plan: Plan, looks: Sequence[Look], name: str) -> None:
    """Pass if in some case each axis is nearly enough as fine as the plan's.

    Raises:
        WrongInput: If it is not.
    """
    axes = 2 if plan.config == "2d" else 3
    most = _LOW_RATIO if plan.config == "3d_low" else _SPACING_RATIO
    wanted = np.array(plan.spacing_mm[:axes])
    seen = np.array([one.spacing_mm[:axes] for one in looks])
    ratios = np.maximum(seen / wanted, wanted / seen)
    if ratios.max(axis=1).min() <= most:
        return
    words = [" x ".join(f"{x:.3g}" for x in some) for some in (wanted, np.median(seen, axis=0))]
    raise _unlike(
        f"Voxels are about as far apart as those that the bundle was trained on: {words[0]} mm.",
        name,
        f"{words[1]} mm (median of {len(looks)} cases)",
    )


def _differing(rule: Way, looks: Sequence[Look], n: int, trained: Channel, given: Channel) -> str:
    """How the n-th channel differs from what its rule was made for; empty if it does not."""
    values = np.concatenate([one.intensities[n] for one in looks]).astype(np.float64)
    whole = np.concatenate([one.whole[n] for one in looks])
    match rule:
        case ClipAndScale() if all(one.in_structures for one in looks):
            return _outside(rule, values)
        case ClipAndScale():
            low, high = np.percentile(values, (0.5, 99.5))
            if high < rule.low or low > rule.high:
                return (
                    f"percentiles from {low:.4g} to {high:.4g}; the bundle knows "
                    f"{rule.low:.4g} to {rule.high:.4g}"
                )
        case UnitRange():
            high = float(np.percentile(whole, 99.5))
            if high > rule.scale:
                return f"values to {high:.4g}; the bundle knows 0 to {rule.scale:.4g}"
        case ZScore() if trained.modality == "MR" and not given.modality and _is_ct(whole):
            return (
                "Hounsfield units, as CT has: values to "
                f"{whole.min():.4g} in {100 * (whole < _AIR_HU).mean():.0f} % of the voxels"
            )
    return ""


def _outside(rule: ClipAndScale, values: AnyArray) -> str:
    """How intensities in structures differ from the trained ones; empty if they do not."""
    clipped = float(((values < rule.low) | (values > rule.high)).mean())
    scaled = (np.clip(values, rule.low, rule.high) - rule.mean) / max(rule.std, SMALLEST_STD)
    if clipped <= _CLIPPED_SHARE and abs(scaled.mean()) <= _SHIFT and scaled.std() >= _SPREAD:
        return ""
    low, median, high = np.percentile(values, (0.5, 50, 99.5))
    return (
        f"percentiles 0.5, 50 and 99.5 in structures of {low:.4g}, {median:.4g} and {high:.4g}; "
        f"the bundle knows {rule.low:.4g} to {rule.high:.4g} with a mean of {rule.mean:.4g}"
    )


def _is_ct(values: AnyArray) -> bool:
    """Whether values look like Hounsfield units of a body in air."""
    return bool((values < _AIR_HU).mean() > _AIR_SHARE and values.max() > _BONE_HU)


def _sample(values: AnyArray) -> AnyArray:
    """Some of the values, evenly spread."""
    return np.array(values[:: max(1, len(values) // _SAMPLE)])


def _unlike(rule: str, name: str, received: str) -> WrongInput:
    return WrongInput(
        rule,
        received=f"{name} with {received}",
        cure="Give the data set that it was trained on, or one of its kind in the same units; "
        "medseg info shows what a file holds.",
    )
