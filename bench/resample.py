"""How long does it take to put a 512x512x200 scan and its label map on another grid?

    taskset -c 0 python bench/resample.py

Processor seconds of one core, which a busy machine distorts little. Ours beside SimpleITK, scipy
and nnU-Net's procedure, on the same grids, in one run.
scikit-image, which nnU-Net resamples with, is no dependency of medseg: `pip install scikit-image`,
or its lines say that it is missing. Ours is warm: compiling is done once and kept on disk.
"""

import os
import time
from collections.abc import Callable

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from medseg.space.grids import Mapping, grid_at_spacing
from medseg.space.resample import resample_array, resample_labels
from medseg.space.votes import TopClasses, vote
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap

try:
    from skimage.transform import resize
except ImportError:
    resize = None

SCAN = Geometry(np.diag([0.8, 0.8, 1.5, 1.0]), (512, 512, 200))
ORGANS = 10
MARGIN = 16
"""Voxels from the border where the ends of the splines no longer matter."""


def phantom() -> tuple[np.ndarray, np.ndarray]:
    """A smooth noisy image with organs of 2 to 12 cm: float32 values and uint8 labels."""
    generator = np.random.default_rng(0)
    labels = np.zeros(SCAN.grid_size, np.uint8)
    spacing = np.array(SCAN.spacing_mm)
    for value in range(1, ORGANS + 1):
        centre = generator.uniform(0.2, 0.8, 3) * SCAN.grid_size
        radius = generator.uniform(10, 60, 3) / spacing
        first = np.maximum(0, centre - radius).astype(int)
        last = np.minimum(SCAN.grid_size, centre + radius + 1).astype(int)
        box = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        i, j, k = np.ogrid[box]
        away = sum(((x - c) / r) ** 2 for x, c, r in zip((i, j, k), centre, radius, strict=True))
        labels[box][away <= 1] = value
    image = generator.normal(0, 20, SCAN.grid_size).astype(np.float32)
    image += ndimage.uniform_filter(labels.astype(np.float32) * 40, 5)
    return image, labels


def as_itk(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    frame = geometry.to_lps()
    image.SetSpacing(frame.spacing_mm)
    image.SetOrigin(frame.origin_mm.tolist())
    image.SetDirection(frame.direction.ravel().tolist())
    return image


def simpleitk(image: sitk.Image, target: Geometry, interpolator: int) -> Callable[[], sitk.Image]:
    """SimpleITK from image to image; the conversion to an array is not counted."""
    task = sitk.ResampleImageFilter()
    task.SetSize(target.grid_size)
    frame = target.to_lps()
    task.SetOutputSpacing(frame.spacing_mm)
    task.SetOutputOrigin(frame.origin_mm.tolist())
    task.SetOutputDirection(frame.direction.ravel().tolist())
    task.SetInterpolator(interpolator)
    return lambda: task.Execute(image)


def scipy_spline(image: np.ndarray, target: Geometry, order: int) -> np.ndarray:
    """The fast path of scipy: a matrix of three numbers, one for each axis."""
    matrix = Mapping(SCAN, target).matrix
    return ndimage.affine_transform(
        image, np.diag(matrix)[:3], matrix[:3, 3], target.grid_size, np.float32, order, "mirror"
    )


def nnunet_image(image: np.ndarray, target: Geometry) -> np.ndarray:
    """nnU-Net's `resample_data_or_seg` for an image: order 3, mode "edge", no smoothing."""
    return resize(image, target.grid_size, order=3, mode="edge", anti_aliasing=False)


def nnunet_labels(labels: np.ndarray, target: Geometry) -> np.ndarray:
    """nnU-Net's `resize_segmentation`, order 1: each label's mask on its own, halves upwards."""
    out = np.zeros(target.grid_size, labels.dtype)
    for label in np.unique(labels):
        mask = (labels == label).astype(float)
        size = target.grid_size
        share = resize(mask, size, order=1, mode="edge", clip=True, anti_aliasing=False)
        out[share >= 0.5] = label
    return out


def seconds(work: Callable[[], np.ndarray | sitk.Image], repeats: int) -> tuple[float, np.ndarray]:
    """Processor time of the best of some runs, and what came out, as an array."""
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        best = min(best, time.process_time() - start)
    return best, sitk.GetArrayFromImage(result).T if isinstance(result, sitk.Image) else result


def line(name: str, taken: float, ours: float, note: str = "") -> None:
    print(f"  {name:34}{taken:9.3f} s {taken / ours:8.1f}x   {note}", flush=True)


def missing(name: str) -> None:
    print(f"  {name:34}  missing: pip install scikit-image", flush=True)


def apart(ours: np.ndarray, theirs: np.ndarray) -> str:
    inner = (slice(MARGIN, -MARGIN),) * 3
    return f"largest difference inside {np.abs(ours[inner] - theirs[inner]).max():.1e}"


def differing(ours: np.ndarray, theirs: np.ndarray) -> str:
    return f"{(ours != theirs).sum() / (ours > 0).sum():.1e} of the foreground differs"


def bench_linear(image: np.ndarray, scan: sitk.Image, target: Geometry) -> None:
    print("\nlinear")
    ours, result = seconds(
        lambda: resample_array(image[None], SCAN, target, interpolation="linear", anti_alias=False),
        5,
    )
    line("medseg", ours, ours)
    smooth, _ = seconds(
        lambda: resample_array(image[None], SCAN, target, interpolation="linear"), 5
    )
    line("medseg, smoothing before shrinking", smooth, ours)
    taken, theirs = seconds(simpleitk(scan, target, sitk.sitkLinear), 3)
    line("SimpleITK", taken, ours, apart(result[0], theirs))
    taken, theirs = seconds(lambda: scipy_spline(image, target, 1), 1)
    line("scipy order 1", taken, ours, apart(result[0], theirs))


def bench_cubic(image: np.ndarray, scan: sitk.Image, target: Geometry) -> None:
    print("\ncubic B-spline")
    ours, result = seconds(
        lambda: resample_array(image[None], SCAN, target, interpolation="cubic", anti_alias=False),
        5,
    )
    line("medseg", ours, ours)
    smooth, _ = seconds(lambda: resample_array(image[None], SCAN, target, interpolation="cubic"), 5)
    line("medseg, smoothing before shrinking", smooth, ours)
    taken, theirs = seconds(lambda: scipy_spline(image, target, 3), 2)
    line("scipy order 3", taken, ours, apart(result[0], theirs))
    taken, theirs = seconds(simpleitk(scan, target, sitk.sitkBSpline3), 1)
    line("SimpleITK B-spline", taken, ours, apart(result[0], theirs))
    if resize is None:
        missing("nnU-Net (skimage order 3)")
        return
    taken, theirs = seconds(lambda: nnunet_image(image, target), 1)
    line("nnU-Net (skimage order 3)", taken, ours, apart(result[0], theirs))


def bench_labels(labels: np.ndarray, target: Geometry) -> None:
    print(f"\nlabels ({ORGANS} organs and background)")
    names = tuple(Label(value=v, name=f"organ {v}") for v in range(1, ORGANS + 1))
    label_map = LabelMap(labels, SCAN, names)
    ours, result = seconds(lambda: resample_labels(label_map, target).array, 5)
    line("medseg, trilinear vote", ours, ours)
    top = TopClasses.empty(ORGANS + 1, SCAN)
    top.classes[0], top.weights[0] = labels, 1
    taken, theirs = seconds(lambda: vote(top, target), 3)
    line("medseg, vote of 4 slots a voxel", taken, ours, differing(result, theirs))
    taken, theirs = seconds(simpleitk(as_itk(labels, SCAN), target, sitk.sitkLabelLinear), 1)
    line("SimpleITK LabelLinear", taken, ours, differing(result, theirs))
    if resize is None:
        missing("nnU-Net (skimage order 1 a label)")
        return
    taken, theirs = seconds(lambda: nnunet_labels(labels, target), 1)
    line("nnU-Net (skimage order 1 a label)", taken, ours, differing(result, theirs))


def main() -> None:
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    image, labels = phantom()
    scan = as_itk(image, SCAN)
    for spacing_mm in ((1.0, 1.0, 1.0), (0.7, 0.7, 1.5)):
        target = grid_at_spacing(SCAN, spacing_mm)
        sizes = ["x".join(map(str, grid.grid_size)) for grid in (SCAN, target)]
        print(f"\n{sizes[0]} -> {sizes[1]}, seconds and how many times ours")
        bench_linear(image, scan, target)
        bench_cubic(image, scan, target)
        bench_labels(labels, target)


if __name__ == "__main__":
    main()
