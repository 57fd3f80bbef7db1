"""How long does it take to score a 512x512x200 label map with 10 structures, and is it right?

    taskset -c 0 python bench/metrics.py [--small LABELS_FOLDER]

One core, CPU seconds. Dice, Hausdorff distance, HD95, ASSD and surface Dice, ours beside the peers
that are installed (`pip install surface-distance medpy monai`, in an environment of their own
beside medseg); a peer that is not says so. Peers that need minutes score two structures. Scores
that a peer defines as we do are compared. Ours is warm: compiling (about five seconds) is done once
and kept on disk. Memory is the peak of a process of its own, beyond what it holds before.
"""

import argparse
import multiprocessing.connection
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import numpy as np

SIZE, SPACING_MM, ORGANS = (512, 512, 200), (0.8, 0.8, 1.5), 10

Scores = dict[int, dict[str, float]]


def phantom() -> tuple[np.ndarray, np.ndarray]:
    """Reference and prediction: ellipsoids of 2 to 12 cm, and the same moved and bent a little."""
    generator = np.random.default_rng(0)
    reference, predicted = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    for value in range(1, ORGANS + 1):
        centre = generator.uniform(0.2, 0.8, 3) * SIZE
        radius = generator.uniform(10, 60, 3) / SPACING_MM
        shift, scale = generator.normal(0, 3, 3) / SPACING_MM, generator.uniform(0.92, 1.08, 3)
        fill(reference, value, centre, radius)
        fill(predicted, value, centre + shift, radius * scale)
    return predicted, reference


def fill(labels: np.ndarray, value: int, centre: np.ndarray, radius: np.ndarray) -> None:
    first = np.maximum(0, centre - radius).astype(int)
    last = np.minimum(SIZE, centre + radius + 1).astype(int)
    box = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    i, j, k = np.ogrid[box]
    away = sum(((x - c) / r) ** 2 for x, c, r in zip((i, j, k), centre, radius, strict=True))
    labels[box][away <= 1] = value


def ours(predicted: np.ndarray, reference: np.ndarray, values: range) -> Scores:
    from medseg.metrics.case import score_case

    scores = score_case(predicted, reference, values=values, spacing_mm=SPACING_MM)
    names = ("dice", "hd", "hd95", "assd", "nsd")
    return {v: {name: getattr(one, name) for name in names} for v, one in scores.items()}


def surface_distance(predicted: np.ndarray, reference: np.ndarray, values: range) -> Scores:
    import surface_distance as peer

    found = {}
    for value in values:
        a, b = reference == value, predicted == value
        apart = peer.compute_surface_distances(a, b, SPACING_MM)
        means = peer.compute_average_surface_distance(apart)
        found[value] = {
            "dice": peer.compute_dice_coefficient(a, b),
            "hd": peer.compute_robust_hausdorff(apart, 100),
            "hd95": peer.compute_robust_hausdorff(apart, 95),
            "assd": float(np.mean(means)),
            "nsd": peer.compute_surface_dice_at_tolerance(apart, 1.0),
        }
    return found


def monai(predicted: np.ndarray, reference: np.ndarray, values: range) -> Scores:
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_dice,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    torch.set_num_threads(1)
    found = {}
    for value in values:
        a, b = (torch.from_numpy(x == value)[None, None] for x in (predicted, reference))
        options = {"include_background": True, "spacing": SPACING_MM}
        found[value] = {
            "dice": float(compute_dice(a, b)),
            "hd": float(compute_hausdorff_distance(a, b, **options)),
            "hd95": float(compute_hausdorff_distance(a, b, percentile=95, **options)),
            "assd": float(compute_average_surface_distance(a, b, symmetric=True, **options)),
            "nsd": float(compute_surface_dice(a, b, [1.0001], **options)),
        }
    return found


def medpy(predicted: np.ndarray, reference: np.ndarray, values: range) -> Scores:
    from medpy.metric import binary

    found = {}
    for value in values:
        a, b = predicted == value, reference == value
        found[value] = {
            "dice": binary.dc(a, b),
            "hd": binary.hd(a, b, SPACING_MM),
            "hd95": binary.hd95(a, b, SPACING_MM),
            "assd": binary.assd(a, b, SPACING_MM),
        }
    return found


def simpleitk(predicted: np.ndarray, reference: np.ndarray, values: range) -> Scores:
    """The usual recipe: contours, and the other's distance map read off along them."""
    import SimpleITK as sitk  # noqa: N813  its usual name

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    found = {}
    for value in values:
        images = []
        for labels in (predicted, reference):
            image = sitk.GetImageFromArray((labels == value).T.astype(np.uint8))
            image.SetSpacing(SPACING_MM)
            images.append(image)
        overlap = sitk.LabelOverlapMeasuresImageFilter()
        overlap.Execute(*images)
        edges = [sitk.LabelContour(image) for image in images]
        maps = [
            sitk.GetArrayFromImage(
                sitk.SignedMaurerDistanceMap(edge, squaredDistance=False, useImageSpacing=True)
            )
            for edge in edges
        ]
        on = [sitk.GetArrayFromImage(edge) > 0 for edge in edges]
        there, back = np.abs(maps[1][on[0]]), np.abs(maps[0][on[1]])
        pooled = np.concatenate([there, back])
        found[value] = {
            "dice": overlap.GetDiceCoefficient(),
            "hd": float(pooled.max()),
            "hd95": float(max(np.percentile(there, 95), np.percentile(back, 95))),
            "assd": float(pooled.mean()),
            "nsd": float((pooled <= 1.0001).mean()),
        }
    return found


PEERS: dict[Callable[[np.ndarray, np.ndarray, range], Scores], int] = {
    ours: ORGANS,
    surface_distance: ORGANS,
    simpleitk: 2,
    monai: 2,
    medpy: 2,
}
"""Who is measured, and how many structures each is asked for."""

EQUAL = {
    "surface_distance": ("dice",),
    "simpleitk": ("dice", "hd", "hd95", "assd", "nsd"),
    "monai": ("dice", "hd", "hd95", "assd", "nsd"),
    "medpy": ("dice", "hd"),
}
"""Which scores must be ours, for each peer: the others are defined differently there."""


def measure(
    peer: str, values: range, maps: Path, pipe: multiprocessing.connection.Connection
) -> None:
    """Time one peer in a process of its own."""
    predicted, reference = np.load(maps)
    score = next(one for one in PEERS if one.__name__ == peer)
    try:
        score(predicted[:24, :24, :24], predicted[:24, :24, :24], range(1, 1))
        if score is ours:
            corner = np.zeros((4, 4, 4), np.uint8)
            corner[1, 1, 1] = 1
            score(corner, corner, range(1, 2))
        before = resident_mb()
        begin = time.process_time()
        scores = score(predicted, reference, values)
        pipe.send((time.process_time() - begin, peak_mb() - before, scores))
    except ImportError as error:
        pipe.send(f"not installed: {error}")


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def outcome_of(peer: str, values: range, maps: Path) -> tuple[float, float, Scores] | str:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=measure, args=(peer, values, maps, there))
    process.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        return "failed; see above"
    finally:
        process.join()


def agreement(peer: str, scores: Scores, own: Scores) -> str:
    """Largest difference of the scores that are defined alike, and which those are."""
    names = EQUAL[peer]
    apart = max(
        abs(one[name] - own[value][name]) for value, one in scores.items() for name in names
    )
    return f"{', '.join(names)} differ by at most {apart:.1g}"


def small_cases(folder: Path) -> None:
    """Whole cases of real label maps, each scored against itself moved by one voxel."""
    from medseg.metrics.case import score_case
    from medseg.volume.io import read_label_map

    maps = [read_label_map(path) for path in sorted(folder.glob("*.nii.gz"))[:60]]
    begin = time.process_time()
    for one in maps:
        values = [label.value for label in one.labels]
        score_case(np.roll(one.array, 1, 0), one.array, values=values, spacing_mm=one.spacing_mm)
    each = (time.process_time() - begin) / max(len(maps), 1)
    print(f"{len(maps)} real cases: {each * 1000:.2f} CPU ms a case")


def compare(maps: Path) -> None:
    own: Scores = {}
    for peer, organs in PEERS.items():
        name = peer.__name__
        outcome = outcome_of(name, range(1, organs + 1), maps)
        if isinstance(outcome, str):
            print(f"{name:17} {outcome}")
            continue
        seconds, mb, scores = outcome
        own = own or scores
        words = "" if peer is ours else agreement(name, scores, own)
        print(
            f"{name:17} {organs:2} structures {seconds:8.2f} CPU s {mb:6.0f} MB  {words}",
            flush=True,
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--small", type=Path, help="folder of real label maps")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        maps = Path(folder) / "maps.npy"
        np.save(maps, np.stack(phantom()))
        compare(maps)
    if asked.small:
        small_cases(asked.small)


if __name__ == "__main__":
    main()
