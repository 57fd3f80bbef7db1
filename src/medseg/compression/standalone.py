"""Segments a NIfTI case with the ONNX files of this folder, without medseg: a reference to read.

    python predict.py MASK.nii.gz IMAGE.nii.gz [IMAGE_OF_CHANNEL_2.nii.gz ...]

It needs numpy, scipy, nibabel and onnxruntime, and does what pipeline.json says, in its order.
"""

import itertools
import json
import sys
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
import onnxruntime
from scipy import ndimage

Array = Any
Rule = dict[str, Any]


def normalised(image: Array, rule: Rule, inside: Array) -> Array:
    """A channel with the intensities that the networks know."""
    if rule["kind"] == "clip_and_scale":
        return (np.clip(image, rule["low"], rule["high"]) - rule["mean"]) / max(rule["std"], 1e-8)
    if rule["kind"] == "unit_range":
        return image / rule["scale"]
    if rule["kind"] == "min_max":
        return (image - image.min()) / max(np.ptp(image), 1e-8)
    part = image[inside] if rule["inside_nonzero"] and inside.any() else image
    scaled = (image - part.mean()) / (part.std() if part.std() > 1e-8 else np.inf)
    return np.where(inside, scaled, 0) if rule["inside_nonzero"] else scaled


def interpolated(array: Array, shape: Any, order: Literal[1, 3]) -> Array:
    """The array on a grid of other voxels over the same field of view; smoothed if coarser."""
    steps = [old / new for old, new in zip(array.shape, shape, strict=True)]
    sigmas = [np.sqrt(max(s**2 - 1, 0)) / np.sqrt(8 * np.log(2)) for s in steps]
    if order == 3:
        array = ndimage.gaussian_filter(array, sigmas, mode="mirror", truncate=3.0)
    at = [
        np.clip((np.arange(new) + 0.5) * step - 0.5, 0, old - 1)
        for old, new, step in zip(array.shape, shape, steps, strict=True)
    ]
    grid = np.meshgrid(*at, indexing="ij")
    return ndimage.map_coordinates(array, grid, order=order, mode="mirror")


def resampled(image: Array, spacing: Array, wanted: Array, thick_from: float) -> Array:
    """A channel at the networks' spacing: cubic, but linear across thick slices."""
    old = np.array(image.shape)
    near = np.abs(spacing / wanted - 1) <= 0.005
    new = np.where(near, old, np.maximum(1, np.round(old * spacing / wanted))).astype(int)
    if (new == old).all():
        return image
    after = old * spacing / new
    if max(s[2] / s[:2].max() for s in (spacing, after)) >= thick_from:
        image = interpolated(image, (*new[:2], old[2]), 3)
        return image if new[2] == old[2] else interpolated(image, tuple(new), 1)
    return interpolated(image, tuple(new), 3)


def starts(size: int, patch: int, overlap: float) -> list[int]:
    """First voxels of the windows along an axis, evenly spread."""
    steps = int(np.ceil((size - patch) / max(1.0, patch * (1 - overlap))))
    return [round((size - patch) * n / steps) for n in range(steps + 1)] if steps else [0]


def mean_logits(image: Array, networks: list[Any], rule: Rule) -> Array:
    """Logits of all windows and networks, averaged with a Gaussian in each window."""
    patch = rule["patch_size"]
    short = [max(p - n, 0) for n, p in zip(image.shape[1:], patch, strict=True)]
    padded = np.pad(image, [(0, 0), *((s // 2, s - s // 2) for s in short)])
    away = [(np.arange(p) - (p - 1) / 2) / (rule["sigma_share"] * p) for p in patch]
    weight = np.prod(np.meshgrid(*(np.exp(-0.5 * a**2) for a in away), indexing="ij"), axis=0)
    total, share = np.zeros(0), np.zeros(padded.shape[1:])
    sizes = zip(padded.shape[1:], patch, strict=True)
    for start in itertools.product(*(starts(n, p, rule["overlap"]) for n, p in sizes)):
        box = tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))
        window = padded[(slice(None), *box)][np.newaxis].astype(np.float32)
        given = window[..., 0] if rule["slices"] else window
        logits = np.mean([n.run(None, {"image": given})[0][0] for n in networks], axis=0)
        logits = logits[..., np.newaxis] if rule["slices"] else logits
        if not total.size:
            total = np.zeros((len(logits), *padded.shape[1:]))
        total[(slice(None), *box)] += weight * logits
        share[box] += weight
    kept = tuple(slice(s // 2, s // 2 + n) for s, n in zip(short, image.shape[1:], strict=True))
    return (total / share)[(slice(None), *kept)]


def elected(logits: Array, pipeline: Rule) -> Array:
    """The value of each voxel: of the largest logit, or of regions painted one over the other."""
    if not pipeline["regions"]:
        return np.array([0, *pipeline["class_values"]])[logits.argmax(axis=0)]
    mask = np.zeros(logits.shape[1:], int)
    for found, region in zip(logits > 0, pipeline["regions"], strict=True):
        mask[found] = region["painted"]
    return mask


def postprocessed(mask: Array, steps: list[Rule], voxel_ml: float) -> Array:
    """Parts that are too small go, and holes are filled."""
    for step in steps:
        part = mask == step["value"]
        if step["kind"] == "filled_holes":
            mask[ndimage.binary_fill_holes(part) & (mask == 0)] = step["value"]
            continue
        parts, _ = ndimage.label(part)
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        largest = sizes == sizes.max()
        stays = largest if step["kind"] == "largest_component" else (
            sizes >= np.ceil(step["volume_ml"] / voxel_ml - 1e-6))  # fmt: skip
        mask[part & ~stays[parts]] = 0
    return mask


def predict(files: list[str], folder: Path) -> nibabel.Nifti1Image:
    """The mask of a case as a NIfTI image, on the grid of its first file."""
    pipeline = json.loads((folder / "pipeline.json").read_text())
    own = [nibabel.load(file) for file in files]
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(own[0].affine),
        nibabel.orientations.axcodes2ornt(pipeline["orientation"]),
    )
    turned = [image.as_reoriented(turn) for image in own]
    spacing = np.array(turned[0].header.get_zooms()[:3], float)
    case = np.stack([image.get_fdata(dtype=np.float32) for image in turned])
    inside = (case != 0).any(axis=0)
    box: tuple[slice, ...] = (slice(None),) * 3
    if pipeline["crop_to_nonzero"] and inside.any():
        box = ndimage.find_objects(inside.astype(int))[0]
    rules = zip(case, pipeline["normalisations"], strict=True)
    image = np.stack([normalised(c[box].astype(float), rule, inside[box]) for c, rule in rules])
    wanted = np.array([w or s for w, s in zip(pipeline["spacing_mm"], spacing, strict=True)])
    image = np.stack([resampled(c, spacing, wanted, pipeline["thick_from"]) for c in image])
    networks = [onnxruntime.InferenceSession(folder / name) for name in pipeline["networks"]]
    logits = mean_logits(image, networks, pipeline["window"])
    logits = np.stack([interpolated(one, inside[box].shape, 1) for one in logits])
    mask = np.zeros(inside.shape, int)
    mask[box] = elected(logits, pipeline)
    back = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt(pipeline["orientation"]),
        nibabel.io_orientation(own[0].affine),
    )
    mask = postprocessed(mask, pipeline["postprocessing"], np.prod(spacing) / 1000)
    kind = np.uint8 if mask.max() < 256 else np.uint16
    return nibabel.Nifti1Image(mask.astype(kind), turned[0].affine).as_reoriented(back)


if __name__ == "__main__":
    nibabel.save(predict(sys.argv[2:], Path(__file__).parent), sys.argv[1])
