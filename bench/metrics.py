"""How long does it take to score a 512x512x200 label map with 10 structures, and is it right?

    taskset -c 0 python bench/metrics.py [--peers-python PYTHON] [--small LABELS_FOLDER]

One core, CPU seconds. Ours computes every score of `score_case`, with either definition of a
surface; the peers compute Dice, Hausdorff distance, HD95, mean surface distance and, where they
have it, surface Dice. Peers run in the Python that is named (`pip install surface-distance medpy
monai panoptica SimpleITK`, in an environment beside medseg), else in this one; a peer that is not
installed there says so. Those that need minutes score two structures. Scores that a peer defines as
we do are compared.
Each runs in a process of its own: the best of five times, of one where that takes long; memory is
its peak beyond what it holds before. Ours is warm; what compiling takes at the first call on a
machine is printed apart.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import numpy as np

SIZE, SPACING_MM, ORGANS = (512, 512, 200), (0.8, 0.8, 1.5), 10

GOAL = 8.0
"""How many times faster than the fastest peer that measures between the same surfaces."""

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


def elements(predicted: np.ndarray, reference: np.ndarray, values: range) -> Scores:
    """Ours, with surface elements: the default."""
    return ours(predicted, reference, values, "elements")


def borders(predicted: np.ndarray, reference: np.ndarray, values: range) -> Scores:
    """Ours, with voxel borders."""
    return ours(predicted, reference, values, "borders")


def ours(predicted: np.ndarray, reference: np.ndarray, values: range, surface: str) -> Scores:
    from medseg.metrics.case import score_case

    scores = score_case(predicted, reference, values=values, spacing_mm=SPACING_MM, surface=surface)
    names = ("dice", "iou", "hd", "hd95", "hd95_pooled", "assd", "assd_averaged", "nsd")
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
            "assd_averaged": float(np.mean(means)),
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
            "hd95_pooled": binary.hd95(a, b, SPACING_MM),
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


def panoptica(predicted: np.ndarray, reference: np.ndarray, values: range) -> Scores:
    """Structures as instances that are matched already."""
    from panoptica import InputType, Metric, Panoptica_Evaluator

    wanted = {"dice": Metric.DSC, "iou": Metric.IOU, "hd": Metric.HD, "hd95_pooled": Metric.HD95,
              "assd_averaged": Metric.ASSD, "nsd": Metric.NSD}  # fmt: skip
    evaluator = Panoptica_Evaluator(
        expected_input=InputType.MATCHED_INSTANCE,
        instance_metrics=list(wanted.values()),
        global_metrics=[],
    )
    if not len(values):
        return {}
    result = evaluator.evaluate(predicted, reference, voxelspacing=SPACING_MM)["ungrouped"]
    columns = {
        name: result.get_list_metric(metric, mode=_all_of_them()) for name, metric in wanted.items()
    }
    return {
        value: {name: float(column[n]) for name, column in columns.items()}
        for n, value in enumerate(values)
    }


def _all_of_them() -> object:
    from panoptica import MetricMode

    return MetricMode.ALL


@dataclass(frozen=True)
class Entry:
    """One line of the table.

    Attributes:
        score: What is measured.
        structures: How many structures it is asked for.
        like: Which of ours it is compared with.
        equal: Scores that are defined as ours: the others are defined differently there.
    """

    score: Callable[[np.ndarray, np.ndarray, range], Scores]
    structures: int = ORGANS
    like: str = "borders"
    equal: tuple[str, ...] = ()


ENTRIES = {
    entry.score.__name__: entry
    for entry in (
        Entry(elements, like="elements"),
        Entry(borders),
        Entry(surface_distance, ORGANS, "elements", ("dice", "hd", "hd95", "assd_averaged", "nsd")),
        Entry(panoptica, equal=("dice", "iou", "hd", "hd95_pooled", "assd_averaged")),
        Entry(simpleitk, 2, equal=("dice", "hd", "hd95", "assd", "nsd")),
        Entry(monai, 2, equal=("dice", "hd", "hd95", "assd", "nsd")),
        Entry(medpy, 2, equal=("dice", "hd", "hd95_pooled", "assd")),
    )
}
OWN = ("elements", "borders")


def measure(name: str, maps: Path) -> dict[str, object]:
    """Time one entry, in this process, which does nothing else."""
    predicted, reference = np.load(maps)
    entry = ENTRIES[name]
    corner = np.zeros((4, 4, 4), np.uint8)
    corner[1, 1, 1] = 1
    try:
        entry.score(corner, corner, range(1, 2 if name in OWN else 1))
    except ImportError as error:
        return {"missing": str(error)}
    before = resident_mb()
    seconds = []
    while len(seconds) < 5 and sum(seconds) < 8:
        begin = time.process_time()
        scores = entry.score(predicted, reference, range(1, entry.structures + 1))
        seconds.append(time.process_time() - begin)
    return {
        "seconds": min(seconds),
        "mb": peak_mb() - before,
        "scores": {str(value): one for value, one in scores.items()},
    }


def first_call() -> float:
    """CPU seconds of the first call on a machine, where nothing is compiled yet."""
    corner = np.zeros((4, 4, 4), np.uint8)
    corner[1, 1, 1] = 1
    import medseg.metrics.case  # noqa: F401  loading is not compiling

    begin = time.process_time()
    elements(corner, corner, range(1, 2))
    return time.process_time() - begin


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def in_process(python: str, *arguments: str, **environment: str) -> dict[str, object]:
    """Run this script for one measurement in a process of its own."""
    with tempfile.NamedTemporaryFile(suffix=".json") as answer:
        done = subprocess.run(
            [python, "-W", "ignore", __file__, *arguments, "--answer", answer.name],
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            return {"missing": "failed; see above"}
        return json.loads(Path(answer.name).read_text())


def agreement(name: str, scores: dict[str, dict[str, float]], own: dict[str, object]) -> str:
    """Largest difference of the scores that are defined alike, and which those are."""
    names = ENTRIES[name].equal
    if not names:
        return ""
    apart = max(abs(one[n] - own[value][n]) for value, one in scores.items() for n in names)
    return f"{', '.join(names)} differ by at most {apart:.1g}"


def small_cases(folder: Path) -> None:
    """Whole cases of real label maps, each scored against itself moved by one voxel."""
    from medseg.metrics.case import score_case
    from medseg.volume.io import read_label_map

    maps = [read_label_map(path) for path in sorted(folder.glob("*.nii.gz"))[:60]]
    one = maps[0].array
    score_case(one, one, values=[1], spacing_mm=maps[0].spacing_mm)
    begin = time.process_time()
    for one in maps:
        values = [label.value for label in one.labels]
        score_case(np.roll(one.array, 1, 0), one.array, values=values, spacing_mm=one.spacing_mm)
    each = (time.process_time() - begin) / max(len(maps), 1)
    print(f"{len(maps)} real cases: {each * 1000:.2f} CPU ms a case")


def compare(maps: Path, peers_python: str) -> None:
    """Measure all, and print a line of each and how they compare."""
    own: dict[str, dict[str, dict[str, float]]] = {}
    seconds: dict[str, float] = {}
    for name, entry in ENTRIES.items():
        python = sys.executable if name in OWN else peers_python
        outcome = in_process(python, "--measure", name, "--maps", str(maps))
        if "missing" in outcome:
            print(f"{name:17} {outcome['missing']}", flush=True)
            continue
        if name in OWN:
            own[name] = outcome["scores"]
        if entry.structures == ORGANS:
            seconds[name] = outcome["seconds"]
        words = agreement(name, outcome["scores"], own[entry.like])
        print(
            f"{name:17} {entry.structures:2} structures {outcome['seconds']:8.2f} CPU s "
            f"{outcome['mb']:6.0f} MB  {words}",
            flush=True,
        )
    for name in OWN:
        peers = [peer for peer in seconds if peer not in OWN and ENTRIES[peer].like == name]
        fastest = min(peers, key=lambda peer: seconds[peer], default=None)
        if fastest is None:
            continue
        ratio = seconds[fastest] / seconds[name]
        print(
            f"{name}: {ratio:.1f}x as fast as {fastest}, the fastest with these surfaces; "
            f"the goal of {GOAL:g}x is {'met' if ratio >= GOAL else 'missed'}"
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--peers-python", default=sys.executable, help="Python with the peers")
    options.add_argument("--small", type=Path, help="folder of real label maps")
    options.add_argument("--measure", choices=ENTRIES, help=argparse.SUPPRESS)
    options.add_argument("--first-call", action="store_true", help=argparse.SUPPRESS)
    options.add_argument("--maps", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.answer:
        answer = (
            {"seconds": first_call()} if asked.first_call else measure(asked.measure, asked.maps)
        )
        asked.answer.write_text(json.dumps(answer))
        return
    with tempfile.TemporaryDirectory() as folder:
        maps = Path(folder) / "maps.npy"
        np.save(maps, np.stack(phantom()))
        print(f"both label maps: {maps.stat().st_size / 2**20:.0f} MB")
        compare(maps, asked.peers_python)
        first = in_process(sys.executable, "--first-call", NUMBA_CACHE_DIR=folder)
        print(f"first call on a machine: {first['seconds']:.1f} CPU s of compiling")
    if asked.small:
        small_cases(asked.small)


if __name__ == "__main__":
    main()
