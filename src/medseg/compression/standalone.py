"""Segments a NIfTI case with the ONNX files of this folder, without medseg: a reference to read.

    python predict.py MASK.nii.gz IMAGE.nii.gz [IMAGE_OF_CHANNEL_2.nii.gz ...]

It needs numpy, scipy, nibabel and onnxruntime, and does what pipeline.json says, in its order.
"""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import onnxruntime
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy import ndimage


def normalised(image: Any, rule: Any, inside: Any) -> Any:
    """A channel with the intensities that the networks know."""
    if rule["kind"] == "clip_and_scale":
        return (image.clip(rule["low"], rule["high"]) - rule["mean"]) / max(rule["std"], 1e-8)
    if rule["kind"] == "unit_range":
        return image / rule["scale"]
    if rule["kind"] == "min_max":
        return (image - image.min()) / max(np.ptp(image), 1e-8)
    counted = inside if rule["inside_nonzero"] and inside.any() else np.ones_like(inside)
    mean, std = image[counted].mean(), image[counted].std()
    return np.where(counted, (image - mean) / (std if std > 1e-8 else np.inf), 0)


def resampled(array: Any, shape: Any, order: Any) -> Any:
    """The array on a grid of other voxels over the same field of view; smoothed first if cubic."""
    steps = np.array(array.shape) / shape
    if order == 3:
        sigmas = np.sqrt(np.maximum(steps**2 - 1, 0) / (8 * np.log(2)))
        array = ndimage.gaussian_filter(array, sigmas, mode="mirror", truncate=3.0)
    old_new = zip(array.shape, shape, steps, strict=True)
    at = [np.clip((np.arange(n) + 0.5) * step - 0.5, 0, old - 1) for old, n, step in old_new]
    grid = np.meshgrid(*at, indexing="ij")
    return ndimage.map_coordinates(array, grid, order=order, mode="mirror")


def mean_logits(image: Any, networks: Any, rule: Any) -> Any:
    """Logits of all windows and networks, averaged with a Gaussian in each window."""
    patch, grid = np.array(rule["patch_size"]), np.array(image.shape[1:])
    before = np.maximum(patch - grid, 0) // 2
    padded = np.pad(
        image, [(0, 0), *zip(before, np.maximum(patch - grid, 0) - before, strict=True)]
    )
    away = np.meshgrid(*((np.arange(p) - (p - 1) / 2) / p for p in patch), indexing="ij")
    weight = np.exp(-0.5 * np.square(away).sum(axis=0) / rule["sigma_share"] ** 2)
    free, starts = padded.shape[1:] - patch, []
    for n, most in zip(free, np.maximum(1.0, patch * (1 - rule["overlap"])), strict=True):
        steps = int(np.ceil(n / most))
        starts.append([round(int(n) * k / max(1, steps)) for k in range(steps + 1)])
    total: Any = 0.0
    for start in itertools.product(*starts):
        box = tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))
        window = padded[(slice(None), *box)][np.newaxis].astype(np.float32)
        given = window[..., 0] if rule["slices"] else window
        logits = np.mean([n.run(None, {"image": given})[0][0] for n in networks], axis=0)
        if np.isscalar(total):
            total = np.zeros((len(logits) + 1, *padded.shape[1:]))
        total[(slice(-1), *box)] += weight * logits.reshape(-1, *patch)
        total[(-1, *box)] += weight
    kept = tuple(slice(b, b + n) for b, n in zip(before, grid, strict=True))
    return (total[:-1] / total[-1])[(slice(None), *kept)]


def elected(logits: Any, rule: Any, voxel_ml: float) -> Any:
    """Values by the largest logit, or of regions painted one over the other; then the steps."""
    mask = np.zeros(logits.shape[1:], int)
    if not rule["regions"]:
        mask = np.array([0, *rule["class_values"]])[logits.argmax(axis=0)]
    for n, region in enumerate(rule["regions"]):
        mask[logits[n] > 0] = region["painted"]
    for step in rule["postprocessing"]:
        part = mask == step["value"]
        if step["kind"] == "filled_holes":
            mask[ndimage.binary_fill_holes(part) & (mask == 0)] = step["value"]
            continue
        parts, _ = ndimage.label(part)
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        least = sizes.max() if step["kind"] == "largest_component" else step["volume_ml"] / voxel_ml
        mask[part & (sizes[parts] < least - 1e-6)] = 0
    return mask


def predict(files: list[str], folder: Path) -> Any:
    """The mask of a case as a NIfTI image, on the grid of its first file."""
    rule = json.loads((folder / "pipeline.json").read_text())
    networks = [onnxruntime.InferenceSession(folder / name) for name in rule["networks"]]
    own, axes = [nibabel.load(file) for file in files], axcodes2ornt(rule["orientation"])
    turned = [x.as_reoriented(ornt_transform(io_orientation(own[0].affine), axes)) for x in own]
    case = np.stack([image.get_fdata() for image in turned])
    inside = (case != 0).any(axis=0)
    cut = rule["crop_to_nonzero"] and inside.any()
    box = ndimage.find_objects(inside.astype(int))[0] if cut else (slice(None),) * 3
    rules = zip(case, rule["normalisations"], strict=True)
    image = [normalised(channel[box], how, inside[box]) for channel, how in rules]
    spacing, grid = np.array(turned[0].header.get_zooms()[:3], float), np.array(image[0].shape)
    ratio = spacing / [w or s for w, s in zip(rule["spacing_mm"], spacing, strict=True)]
    new = np.maximum(1, np.round(np.where(abs(ratio - 1) <= 0.005, 1, ratio) * grid)).astype(int)
    thick = max(s[2] / s[:2].max() for s in (spacing, spacing * grid / new)) >= rule["thick_from"]
    between = (*new[:2], grid[2]) if thick else new
    image = [resampled(resampled(channel, between, 3), new, 1) for channel in image]
    logits = mean_logits(np.stack(image), networks, rule["window"])
    logits = np.stack([resampled(one, grid, 1) for one in logits])
    mask = np.zeros(inside.shape, np.uint16 if max(rule["class_values"]) > 255 else np.uint8)
    mask[box] = elected(logits, rule, np.prod(spacing) / 1000)
    back = ornt_transform(axes, io_orientation(own[0].affine))
    return nibabel.Nifti1Image(mask, turned[0].affine).as_reoriented(back)


if __name__ == "__main__":
    nibabel.save(predict(sys.argv[2:], Path(__file__).parent), sys.argv[1])
