"""One case, from its own grid and intensities to those of a plan.

Reorient, cut off empty borders, normalise, resample: in this order, as nnU-Net does it. Nothing has
to be recorded for the way back, since each grid carries its geometry.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medseg.dataset.crop import (
    bounding_box,
    crop_label_map,
    crop_volume,
    cut,
    filled,
    name_of,
    nonzero_mask,
    require_finite,
)
from medseg.dataset.normalise import ZScore, normalise
from medseg.dataset.plan import Plan
from medseg.errors import LabelError, WrongInput
from medseg.space.nnunet import apart_axis, resample_as_nnunet
from medseg.space.resample import grid_at_spacing, resample_array, resample_labels
from medseg.types import IntArray, Mask, SpacingMm
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Labels
from medseg.volume.volume import LabelMap, Volume

SAME_SPACING = 0.005
"""Spacings that differ by less than this share are one spacing: nothing is resampled."""

ANISOTROPIC = 3.0
"""From this ratio of spacings on, slices are not smoothed into each other."""


@dataclass(frozen=True, eq=False)
class Preprocessed:
    """A case as the network sees it.

    Attributes:
        image: Normalised intensities, float32, shape (C, I, J, K).
        labels: Class indices, shape (I, J, K), uint8 or (from 256 classes on) uint16; voxels that
            do not count hold `Plan.ignored_class`. None for a case without label.
        geometry: Where this grid lies.
        original: Where the grid of the file lies, for the way back.
        mask: Class indices that the stage before a cascade found, shape (I, J, K); None elsewhere.
    """

    image: npt.NDArray[np.float32]
    labels: IntArray | None
    geometry: Geometry
    original: Geometry
    mask: IntArray | None = None


def preprocess(volume: Volume, label_map: LabelMap | None, plan: Plan) -> Preprocessed:
    """Bring a case to the grid and the intensities of a plan.

    Args:
        volume: The image, in any orientation and spacing.
        label_map: Its structures, if they are known, on the same voxels; the order of axes may
            differ.
        plan: What to bring it to.

    Raises:
        WrongInput: If the number of channels is not the plan's.
        DifferentSpace: If image and label map lie on different grids.
        DatasetError: If a value is not a finite number.
        LabelError: If the label map holds a value that the plan does not know.
    """
    _require_channels(volume, plan)
    original = volume.geometry
    orientation = plan.orientation_of(volume.geometry)
    volume = volume.reoriented(orientation)
    if label_map is not None:
        label_map = label_map.reoriented(orientation)
        what = f"image and label of {name_of(volume)}"
        volume.geometry.require_same_space(label_map.geometry, what=what)
    require_finite(volume)
    nonzero = _nonzero_if_needed(volume, plan)
    if plan.crop_to_nonzero and nonzero is not None:
        start, size = bounding_box(nonzero)
        volume, nonzero = crop_volume(volume, start, size), cut(nonzero, start, size)
        label_map = None if label_map is None else crop_label_map(label_map, start, size)
    channels = [
        normalise(channel, how, nonzero)
        for channel, how in zip(volume.array, plan.normalisations, strict=True)
    ]
    image = np.stack(channels) if channels[1:] else channels[0][np.newaxis]  # no second copy
    target = network_grid(volume.geometry, plan)
    labels = None
    if label_map is not None:
        labels = class_indices(
            _labels_on(label_map, target), plan.labels, ignored_value=plan.ignored_value
        )
    on_grid = _image_on(image, volume.geometry, target, plan)
    return Preprocessed(on_grid, labels, target, original)


def network_grid(geometry: Geometry, plan: Plan) -> Geometry:
    """The grid that a reoriented and cropped case is resampled to.

    A 2D plan keeps the distance between slices; a spacing within `SAME_SPACING` of the plan's is
    left alone, so that cases stored with rounding are not resampled (nnU-Net resamples them, once
    the grid differs by half a voxel).
    """
    nearly = 0.0 if plan.conventions == "nnunet" else SAME_SPACING
    wanted = list(_spacing(geometry, plan))
    for axis, own in enumerate(geometry.spacing_mm):
        if abs(own / wanted[axis] - 1) <= nearly:
            wanted[axis] = own
    spacing_mm = (wanted[0], wanted[1], wanted[2])
    if spacing_mm == geometry.spacing_mm:
        return geometry
    return grid_at_spacing(geometry, spacing_mm)


def _spacing(geometry: Geometry, plan: Plan) -> SpacingMm:
    """What a plan wants for a case: a 2D one leaves K as it is."""
    i, j, k = plan.spacing_mm
    return (i, j, geometry.spacing_mm[2] if plan.config == "2d" else k)


def class_indices(
    label_map: LabelMap, labels: Labels, *, ignored_value: int | None = None
) -> IntArray:
    """Values of files become classes of a network: the n-th of `labels` becomes n + 1.

    Args:
        label_map: Values.
        labels: The structures.
        ignored_value: The value of voxels that do not count; it becomes the class after the last.

    Raises:
        LabelError: If a voxel holds another value.
    """
    classes = [label.value for label in labels]
    if ignored_value is not None:
        classes.append(ignored_value)
    kind = np.uint8 if len(classes) < 256 else np.uint16
    unknown = [x for x in label_map.labels if x.value not in classes]
    for label in unknown:
        if label_map.mask(label).any():
            raise LabelError(
                "A label map holds structures of the plan only.",
                received=f"value {label.value} ({label.name})",
                cure="Plan again with the labels of this data set.",
            )
    table = np.zeros(max(65536 if label_map.array.dtype.itemsize > 1 else 256, 1), dtype=kind)
    for n, value in enumerate(classes):
        if value < table.size:
            table[value] = n + 1
    return np.asarray(table[label_map.array])


def _require_channels(volume: Volume, plan: Plan) -> None:
    if len(volume.array) != len(plan.channels):
        names = ", ".join(channel.name for channel in plan.channels)
        raise WrongInput(
            f"A case has the {len(plan.channels)} channels of the plan: {names}.",
            received=f"{len(volume.array)} channels in {name_of(volume)}",
            cure="Give all images of the case, in this order.",
        )


def _nonzero_if_needed(volume: Volume, plan: Plan) -> Mask | None:
    inside = any(isinstance(how, ZScore) and how.inside_nonzero for how in plan.normalisations)
    if not (inside or plan.crop_to_nonzero):
        return None
    mask = nonzero_mask(volume)
    return filled(mask) if inside and plan.conventions == "nnunet" else mask


def _image_on(
    image: npt.NDArray[np.float32], source: Geometry, target: Geometry, plan: Plan
) -> npt.NDArray[np.float32]:
    """Cubic; across thick slices linear, so that no overshoot of one slice reaches the next."""
    if target is source:
        return image
    if plan.conventions == "nnunet":
        across = apart_axis(source.spacing_mm, _spacing(source, plan))
        return resample_as_nnunet(image, source, target, across)
    if _thick(source.spacing_mm) or _thick(target.spacing_mm):
        i, j, _ = target.spacing_mm
        in_plane = grid_at_spacing(source, (i, j, source.spacing_mm[2]))
        image = resample_array(image, source, in_plane, interpolation="cubic")
        if in_plane.same_space(target):
            return image
        return resample_array(image, in_plane, target, interpolation="linear")
    return resample_array(image, source, target, interpolation="cubic")


def _labels_on(label_map: LabelMap, target: Geometry) -> LabelMap:
    if target.same_space(label_map.geometry):
        return label_map
    return resample_labels(label_map, target)


def _thick(spacing_mm: SpacingMm) -> bool:
    return spacing_mm[2] / max(spacing_mm[:2]) >= ANISOTROPIC
