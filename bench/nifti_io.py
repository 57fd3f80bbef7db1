"""How fast is .nii.gz read and written, beside nibabel and SimpleITK?

A CT-like image (smooth anatomy with noise, int16) and a label map on 256 x 256 x 160 voxels. Each
figure is the best of five; all are made in one run, so that their ratios hold on any machine.
Processor seconds tell the work of compression; wall seconds also hold what the disk takes, and
medseg waits until its file is flushed, which the others do not.
Run: python bench/nifti_io.py
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy.ndimage import gaussian_filter

from medseg.types import AnyArray
from medseg.volume.geometry import Geometry
from medseg.volume.nifti import read_nifti, write_nifti

GRID = (256, 256, 160)
REPEATS = 5


class Seconds(NamedTuple):
    """What something took."""

    processor: float
    wall: float


def main() -> None:
    generator = np.random.default_rng(0)
    smooth = gaussian_filter(generator.normal(size=GRID).astype(np.float32), 4)
    image = (smooth * 9000 + generator.normal(0, 12, GRID)).astype(np.int16)
    labels = np.digitize(smooth, [0.01, 0.03, 0.05]).astype(np.uint8)
    print("processor seconds (wall seconds)")
    names = ("", "nibabel", "SimpleITK", "medseg", "nibabel / medseg")
    print("".join(f"{name:>20s}" for name in names))
    with tempfile.TemporaryDirectory() as folder:
        for name, array in (("image", image), ("label map", labels)):
            compare(name, np.asfortranarray(array), Path(folder))


def compare(name: str, array: AnyArray, folder: Path) -> None:
    geometry = Geometry.from_spacing((0.8, 0.8, 1.0), GRID)
    nibabel_image = nib.Nifti1Image(array, geometry.affine)
    itk_image = sitk.GetImageFromArray(array.T)
    ours, theirs, itk = (folder / f"{n}.nii.gz" for n in ("ours", "nibabel", "itk"))
    written = (
        best_of(lambda: nib.save(nibabel_image, theirs)),
        best_of(lambda: sitk.WriteImage(itk_image, str(itk))),
        best_of(lambda: write_nifti(array[None], geometry, ours)),
    )
    report(f"{name} write", written)
    read = (
        best_of(lambda: np.asarray(nib.load(theirs).dataobj)),
        best_of(lambda: sitk.GetArrayFromImage(sitk.ReadImage(str(theirs)))),
        best_of(lambda: read_nifti(theirs)),
    )
    report(f"{name} read", read)
    assert np.array_equal(read_nifti(ours)[0][0], np.asarray(nib.load(theirs).dataobj))
    sizes = [path.stat().st_size / 1e6 for path in (theirs, itk, ours)]
    print("".join(f"{cell:>20s}" for cell in ("MB", *(f"{size:.2f}" for size in sizes))))


def report(what: str, seconds: tuple[Seconds, Seconds, Seconds]) -> None:
    shown = [f"{one.processor:.3f} ({one.wall:.3f})" for one in seconds]
    nibabel, _, ours = seconds
    ratio = f"{nibabel.processor / ours.processor:.1f}x ({nibabel.wall / ours.wall:.1f}x)"
    print("".join(f"{cell:>20s}" for cell in (what, *shown, ratio)))


def best_of(run: Callable[[], object]) -> Seconds:
    """The least of each, not necessarily of the same repeat."""
    times = []
    for _ in range(REPEATS):
        wall, processor = time.perf_counter(), time.process_time()
        run()
        times.append(Seconds(time.process_time() - processor, time.perf_counter() - wall))
    return Seconds(*map(min, zip(*times, strict=True)))


if __name__ == "__main__":
    main()
