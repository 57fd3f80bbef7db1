"""How fast is .nii.gz read and written, beside nibabel and SimpleITK?

A CT-like image (smooth anatomy with noise, int16) and a label map on 256 x 256 x 160 voxels. Each
figure is the best of five; all are made in one run, so that their ratios hold on any machine.
Run: python bench/nifti_io.py
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy.ndimage import gaussian_filter

from medseg.types import AnyArray
from medseg.volume.geometry import Geometry
from medseg.volume.nifti import read_nifti, write_nifti

GRID = (256, 256, 160)
REPEATS = 5


def main() -> None:
    generator = np.random.default_rng(0)
    smooth = gaussian_filter(generator.normal(size=GRID).astype(np.float32), 4)
    image = (smooth * 9000 + generator.normal(0, 12, GRID)).astype(np.int16)
    labels = np.digitize(smooth, [0.01, 0.03, 0.05]).astype(np.uint8)
    print(f"{'':12s}{'nibabel s':>11s}{'SimpleITK s':>13s}{'medseg s':>10s}{'nibabel/medseg':>16s}")
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
    print(f"{'  MB':12s}{sizes[0]:11.2f}{sizes[1]:13.2f}{sizes[2]:10.2f}")


def report(what: str, seconds: tuple[float, float, float]) -> None:
    nibabel_s, itk_s, ours_s = seconds
    print(f"{what:15s}{nibabel_s:8.3f}{itk_s:13.3f}{ours_s:10.3f}{nibabel_s / ours_s:15.1f}x")


def best_of(run: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    main()
