"""What others say of masks that are easily made: kept in recorded.json.

    PYTHON tests/metrics/recorded.py

writes the file anew, where surface-distance 0.1, MONAI 1.6.1 and MedPy 0.5.2 are installed.
The masks come from arithmetic of whole numbers and are the same on every machine.
"""

import json
from pathlib import Path

import numpy as np

KEPT = Path(__file__).with_name("recorded.json")

SHAPES = {
    "isotropic": ((14, 15, 16), (1.0, 1.0, 1.0), 1.0),
    "anisotropic": ((12, 17, 9), (0.8, 0.7, 2.5), 1.5),
    "thick slices": ((16, 16, 5), (0.9, 0.9, 5.0), 2.0),
    "at the edge": ((8, 9, 10), (1.3, 0.6, 1.1), 0.5),
    "2D": ((21, 24), (0.75, 1.25), 1.0),
    "2D at the edge": ((9, 11), (2.0, 0.5), 0.3),
}
"""Shape, spacing in mm and tolerance in mm of each pair of masks."""


def masks(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and reference: a ball, and a larger one with a hole, some specks and a dent."""
    shape = SHAPES[name][0]
    axes = np.ogrid[tuple(slice(size) for size in shape)]
    middle = [size // 2 for size in shape]
    if name.endswith("edge"):
        middle = [size // 4 for size in shape]
    away = sum(
        (4 * (x - c)) ** 2 // max(size // 3, 1) ** 2
        for x, c, size in zip(axes, middle, shape, strict=True)
    )
    moved = sum(
        (4 * (x - c - 1)) ** 2 // max(size // 4, 1) ** 2
        for x, c, size in zip(axes, middle, shape, strict=True)
    )
    mixed = sum((n + 2) * x * x for n, x in enumerate(axes))
    reference = (away <= 20) & (away > 1) | (mixed % 31 == 3)
    predicted = (moved <= 22) & (mixed % 7 != 1)
    return predicted, reference


def surface_distance(name: str) -> dict[str, float]:
    """What surface-distance says, by our names."""
    import surface_distance as peer

    _, spacing_mm, tolerance_mm = SHAPES[name]
    predicted, reference = masks(name)
    apart = peer.compute_surface_distances(reference, predicted, spacing_mm)
    back, there = peer.compute_average_surface_distance(apart)
    return {
        "dice": float(peer.compute_dice_coefficient(reference, predicted)),
        "hd": float(peer.compute_robust_hausdorff(apart, 100)),
        "hd95": float(peer.compute_robust_hausdorff(apart, 95)),
        "nsd": float(peer.compute_surface_dice_at_tolerance(apart, tolerance_mm)),
        "assd_averaged": float((there + back) / 2),
    }


def monai(name: str) -> dict[str, float]:
    """What MONAI says, by our names."""
    import monai.metrics as peer
    import torch

    _, spacing_mm, tolerance_mm = SHAPES[name]
    a, b = (torch.from_numpy(mask)[None, None] for mask in masks(name))
    options = {"include_background": True, "spacing": spacing_mm}
    return {
        "dice": float(peer.compute_dice(a, b)),
        "hd": float(peer.compute_hausdorff_distance(a, b, **options)),
        "hd95": float(peer.compute_hausdorff_distance(a, b, percentile=95, **options)),
        "assd": float(peer.compute_average_surface_distance(a, b, symmetric=True, **options)),
        "nsd": float(peer.compute_surface_dice(a, b, [tolerance_mm], **options)),
    }


def medpy(name: str) -> dict[str, float]:
    """What MedPy says, by our names: its HD95 is pooled."""
    from medpy.metric import binary

    spacing_mm = SHAPES[name][1]
    a, b = masks(name)
    return {
        "dice": float(binary.dc(a, b)),
        "iou": float(binary.jc(a, b)),
        "sensitivity": float(binary.sensitivity(a, b)),
        "precision": float(binary.precision(a, b)),
        "specificity": float(binary.specificity(a, b)),
        "relative_volume_difference": float(binary.ravd(a, b)),
        "hd": float(binary.hd(a, b, spacing_mm)),
        "hd95_pooled": float(binary.hd95(a, b, spacing_mm)),
        "assd": float(binary.assd(a, b, spacing_mm)),
    }


def record() -> None:
    """Ask the real packages."""
    from surface_distance import lookup_tables

    peers = (surface_distance, monai, medpy)
    content = {peer.__name__: {name: peer(name) for name in SHAPES} for peer in peers}
    content |= {"areas": {}, "lengths": {}}
    for spacing_mm in ((1.0, 1.0, 1.0), (0.7, 1.3, 2.9)):
        areas = lookup_tables.create_table_neighbour_code_to_surface_area(spacing_mm)
        lengths = lookup_tables.create_table_neighbour_code_to_contour_length(spacing_mm[:2])
        content["areas"][" ".join(map(str, spacing_mm))] = areas.tolist()
        content["lengths"][" ".join(map(str, spacing_mm[:2]))] = lengths.tolist()
    KEPT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record()
