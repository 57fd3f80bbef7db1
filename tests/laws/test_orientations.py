"""Laws of space: over all 48 orientations, and beside SimpleITK and nibabel."""

from itertools import permutations, product
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.volume.dicom import read_series, write_series
from medseg.volume.geometry import Geometry, LpsFrame
from medseg.volume.io import read_volume, write_volume
from medseg.volume.volume import Volume

ORIENTATIONS = tuple(
    "".join(letters) for order in permutations(("RL", "AP", "SI")) for letters in product(*order)
)

numbers = st.floats(-500, 500, width=32)
spacings = st.floats(0.125, 9, width=32)


@st.composite
def geometries(draw: st.DrawFn, *, tilted: bool = True) -> Geometry:
    """Right-angled grids in any orientation, turned by up to 30 degrees where `tilted`."""
    size = tuple(draw(st.integers(1, 5)) for _ in range(3))
    spacing = tuple(draw(spacings) for _ in range(3))
    origin = tuple(draw(numbers) for _ in range(3))
    upright = Geometry.from_spacing(spacing, size, origin_mm=origin)
    turned = upright.reordered(*upright.steps_to(draw(st.sampled_from(ORIENTATIONS))))
    affine = turned.affine.copy()
    if tilted:
        x, y, z = (np.radians(draw(st.floats(-30, 30))) for _ in range(3))
        affine[:3] = _rotation(x, y, z) @ affine[:3]
    return Geometry(affine, turned.grid_size)


def _rotation(x, y, z):
    about_x = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
    about_y = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
    about_z = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
    return np.array(about_x) @ about_y @ about_z


def volume_on(geometry: Geometry) -> Volume:
    """Each voxel holds a number of its own."""
    count = int(np.prod(geometry.grid_size))
    return Volume(np.arange(count, dtype=np.int16).reshape(1, *geometry.grid_size), geometry)


def places(volume: Volume) -> np.ndarray:
    """World position of each value, in the order of the values."""
    index = np.stack(np.indices(volume.geometry.grid_size), -1).reshape(-1, 3)
    order = np.argsort(volume.array.ravel())
    return volume.geometry.index_to_world(index[order].astype(float))


def test_there_are_48_orientations():
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_reorienting_moves_no_voxel_and_can_be_undone(orientation):
    affine = np.diag([0.7, 1.1, 2.5, 1])
    affine[:3, 3] = -30.5, 12.25, 7
    volume = volume_on(Geometry(affine, (2, 3, 4)))
    turned = volume.reoriented(orientation)
    assert turned.geometry.orientation == orientation
    np.testing.assert_allclose(places(turned), places(volume), atol=1e-9)
    back = turned.reoriented("RAS")
    assert np.array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.geometry.affine, affine, atol=1e-12)


@settings(max_examples=40)
@given(geometries(), st.sampled_from(ORIENTATIONS))
def test_reorienting_oblique_grids_moves_no_voxel(geometry, orientation):
    volume = volume_on(geometry)
    turned = volume.reoriented(orientation)
    np.testing.assert_allclose(places(turned), places(volume), atol=1e-9)
    back = turned.reoriented(geometry.orientation)
    assert np.array_equal(back.array, volume.array)
    assert back.geometry.same_space(geometry)


@settings(max_examples=40)
@given(geometries())
def test_orientation_is_that_of_nibabel(geometry):
    assert geometry.orientation == "".join(nib.aff2axcodes(geometry.affine))
    np.testing.assert_allclose(geometry.spacing_mm, nib.affines.voxel_sizes(geometry.affine))


@settings(max_examples=40)
@given(geometries())
def test_lps_and_back_is_the_same_place(geometry):
    again = Geometry.from_lps(geometry.to_lps(), geometry.grid_size)
    np.testing.assert_allclose(again.affine, geometry.affine, atol=1e-9)


@settings(max_examples=40)
@given(geometries(), st.tuples(numbers, numbers, numbers))
def test_itk_places_an_index_where_we_do(geometry, index):
    image = sitk.Image([int(n) for n in geometry.grid_size], sitk.sitkUInt8)
    frame: LpsFrame = geometry.to_lps()
    image.SetOrigin(frame.origin_mm.tolist())
    image.SetSpacing(frame.spacing_mm)
    image.SetDirection(frame.direction.ravel().tolist())
    x, y, z = image.TransformContinuousIndexToPhysicalPoint(index)
    np.testing.assert_allclose(geometry.index_to_world(np.array(index)), (-x, -y, z), atol=1e-6)
    back = geometry.world_to_index(geometry.index_to_world(np.array(index)))
    np.testing.assert_allclose(back, index, atol=1e-6)


@settings(max_examples=40)
@given(geometries(), st.tuples(*[st.integers(-3, 3)] * 3), st.tuples(*[st.integers(1, 4)] * 3))
def test_a_crop_keeps_its_voxels_in_place(geometry, start, size):
    crop = geometry.cropped(start, size)
    np.testing.assert_allclose(
        crop.index_to_world(np.zeros(3)), geometry.index_to_world(np.array(start, float)), atol=1e-9
    )
    back = crop.cropped(tuple(-n for n in start), geometry.grid_size)
    assert back.same_space(geometry)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd", ".tif"])
@settings(max_examples=15, deadline=None)
@given(geometry=geometries())
def test_writing_and_reading_keeps_values_and_places(suffix, geometry):
    volume = volume_on(geometry)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        write_volume(volume, path)
        again = read_volume(path)
        assert np.array_equal(again.array, volume.array)
        assert again.array.dtype == volume.array.dtype
        assert again.geometry.distance_mm(geometry) < 1e-3
        write_volume(again, path)
        assert read_volume(path).geometry.distance_mm(again.geometry) < 1e-9


@settings(max_examples=15, deadline=None)
@given(geometry=geometries())
def test_itk_and_nibabel_see_a_nifti_where_we_do(geometry):
    volume = volume_on(geometry)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.nii.gz"
        write_volume(volume, path)
        np.testing.assert_allclose(nib.load(path).affine, geometry.affine, rtol=1e-5, atol=1e-4)
        image = sitk.ReadImage(str(path))
        frame = LpsFrame(
            np.array(image.GetOrigin()),
            np.reshape(image.GetDirection(), (3, 3)),
            image.GetSpacing(),
        )
        seen = Geometry.from_lps(frame, image.GetSize())
        assert np.array_equal(sitk.GetArrayFromImage(image).T, volume.array[0])
        np.testing.assert_allclose(seen.affine, geometry.affine, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_dicom_series_holds_any_orientation(orientation, tmp_path):
    affine = np.diag([0.7, 1.1, 2.5, 1])
    affine[:3, 3] = -30.5, 12.25, 7
    volume = volume_on(Geometry(affine, (2, 3, 4))).reoriented(orientation)
    write_series(volume, tmp_path / "s", patient_name="Phantom^One", patient_id="1")
    again = read_series(tmp_path / "s").reoriented(orientation)
    assert np.array_equal(again.array, volume.array)
    assert again.geometry.distance_mm(volume.geometry) < 1e-9


@settings(max_examples=15, deadline=None)
@given(geometry=geometries())
def test_a_dicom_series_holds_oblique_planes(geometry):
    volume = volume_on(geometry)
    with TemporaryDirectory() as folder:
        write_series(volume, Path(folder) / "s", patient_name="Phantom^One", patient_id="1")
        again = read_series(Path(folder) / "s").reoriented(geometry.orientation)
        assert np.array_equal(again.array, volume.array)
        assert again.geometry.distance_mm(geometry) < 1e-6
