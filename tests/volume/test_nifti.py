import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import InvalidGeometry, UnknownFormat, UnreadableFile
from medseg.volume.geometry import Geometry
from medseg.volume.nifti import read_nifti, read_nifti_geometry, write_nifti

OBLIQUE = np.array(
    [[0.9, -0.1, 0.2, -31.5], [0.15, 1.1, -0.1, 12.25], [-0.2, 0.1, 2.4, 7.0], [0, 0, 0, 1]]
)


def save(path, array, affine=None, **changes):
    """A file as nibabel writes it, with changes to its header."""
    image = nib.Nifti1Image(array, np.eye(4) if affine is None else affine, dtype=array.dtype)
    for name, value in changes.items():
        image.header[name] = value
    nib.save(image, path)
    return path


@pytest.fixture
def voxels():
    return np.random.default_rng(0).integers(-1000, 3000, (4, 5, 6)).astype(np.int16)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", ">i2", ">f4"]
)
def test_nibabel_and_we_read_the_same(tmp_path, voxels, dtype, suffix):
    path = save(tmp_path / f"a{suffix}", voxels.astype(dtype), OBLIQUE)
    array, geometry = read_nifti(path)
    image = nib.load(path)
    assert array.dtype == np.dtype(dtype).newbyteorder("=")
    assert np.array_equal(array[0], np.asarray(image.dataobj))
    assert np.array_equal(geometry.affine, image.affine)
    assert read_nifti_geometry(path) == geometry


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nibabel_reads_what_we_write(tmp_path, voxels, suffix):
    affine = np.diag([-0.7, 0.8, 3, 1])
    write_nifti(voxels[None], Geometry(affine, (4, 5, 6)), tmp_path / f"a{suffix}")
    image = nib.load(tmp_path / f"a{suffix}")
    assert np.array_equal(np.asarray(image.dataobj), voxels)
    assert image.get_data_dtype() == np.int16
    np.testing.assert_allclose(image.get_sform(coded=True)[0], affine, rtol=1e-6)
    np.testing.assert_allclose(image.get_qform(coded=True)[0], affine, rtol=1e-6)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_axes_that_are_not_at_right_angles_have_a_sform_only(tmp_path, voxels):
    sheared = np.array([[1, 0, 0.3, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]])
    geometry = Geometry(sheared, (4, 5, 6))
    write_nifti(voxels[None], geometry, tmp_path / "a.nii")
    header = nib.load(tmp_path / "a.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)
    assert read_nifti_geometry(tmp_path / "a.nii").same_space(geometry)


@pytest.mark.parametrize(("sform", "qform"), [(1, 1), (2, 0), (0, 1), (0, 0)])
def test_the_affine_is_chosen_as_nibabel_does(tmp_path, voxels, sform, qform):
    image = nib.Nifti1Image(voxels, None)
    image.header.set_zooms((0.7, 0.8, 3))
    image.set_sform(OBLIQUE, sform)
    turned = np.diag([-0.7, 0.8, 3, 1])
    turned[:3, 3] = 1, 2, 3
    image.set_qform(turned, qform)
    nib.save(image, tmp_path / "a.nii")
    geometry = read_nifti_geometry(tmp_path / "a.nii")
    expected = nib.load(tmp_path / "a.nii").affine
    np.testing.assert_allclose(geometry.affine, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("sform", "qform"), [(1, 0), (0, 1), (0, 0)])
def test_what_was_read_is_written_and_read_bit_for_bit(tmp_path, voxels, sform, qform):
    image = nib.Nifti1Image(voxels, None)
    image.header.set_zooms((0.7, 0.8, 3))
    image.set_sform(OBLIQUE, sform)
    image.set_qform(OBLIQUE, qform)
    nib.save(image, tmp_path / "a.nii")
    array, geometry = read_nifti(tmp_path / "a.nii")
    write_nifti(array, geometry, tmp_path / "b.nii.gz")
    again, same = read_nifti(tmp_path / "b.nii.gz")
    assert same == geometry
    assert np.array_equal(again, array)
    assert again.dtype == array.dtype


def test_a_scaling_is_applied_and_a_trivial_one_keeps_integers(tmp_path, voxels):
    scaled = save(tmp_path / "a.nii", voxels, scl_slope=0.001, scl_inter=-3)
    raw = bytearray(scaled.read_bytes())
    raw[112:120] = np.array([0.001, -3], "<f4").tobytes()
    scaled.write_bytes(raw)
    array, _ = read_nifti(scaled)
    assert array.dtype == np.float32
    np.testing.assert_allclose(array[0], nib.load(scaled).get_fdata(), atol=1e-6)
    for slope in (0, 1, np.nan):
        raw[112:120] = np.array([slope, 0], "<f4").tobytes()
        scaled.write_bytes(raw)
        array, _ = read_nifti(scaled)
        assert array.dtype == np.int16
        assert np.array_equal(array[0], voxels)


def test_a_fourth_axis_is_channels(tmp_path):
    four = np.random.default_rng(0).normal(size=(4, 5, 6, 3)).astype(np.float32)
    array, geometry = read_nifti(save(tmp_path / "a.nii.gz", four))
    assert np.array_equal(array, np.moveaxis(four, -1, 0))
    assert geometry.grid_size == (4, 5, 6)
    write_nifti(array, geometry, tmp_path / "b.nii.gz")
    assert np.array_equal(np.asarray(nib.load(tmp_path / "b.nii.gz").dataobj), four)


def test_a_vector_image_as_itk_writes_it_is_channels(tmp_path):
    five = np.arange(4 * 5 * 6 * 2, dtype=np.float32).reshape(4, 5, 6, 1, 2)
    array, _ = read_nifti(save(tmp_path / "a.nii", five))
    assert np.array_equal(array, np.moveaxis(five[:, :, :, 0], -1, 0))


def test_several_times_of_several_channels_are_refused(tmp_path):
    path = save(tmp_path / "a.nii", np.zeros((4, 5, 6, 2, 2), np.float32))
    with pytest.raises(UnknownFormat, match="4 x 5 x 6 x 2 x 2"):
        read_nifti(path)


def test_two_axes_are_one_slice(tmp_path):
    flat = np.arange(20, dtype=np.uint8).reshape(4, 5)
    array, geometry = read_nifti(save(tmp_path / "a.nii", flat))
    assert array.shape == (1, 4, 5, 1)
    assert geometry.is_2d
    assert np.array_equal(array[0, :, :, 0], flat)


def test_colours_are_channels(tmp_path):
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours = np.random.default_rng(0).integers(0, 255, (4, 5, 6, 3)).astype(np.uint8)
    array, _ = read_nifti(save(tmp_path / "a.nii", colours.view(kind)[..., 0]))
    assert np.array_equal(array, np.moveaxis(colours, -1, 0))


def test_complex_numbers_are_refused(tmp_path, voxels):
    with pytest.raises(UnknownFormat, match="complex numbers"):
        read_nifti(save(tmp_path / "a.nii", voxels.astype(np.complex64)))


@pytest.mark.parametrize(("unit", "factor"), [(1, 1000), (2, 1), (3, 0.001), (0, 1)])
def test_positions_become_millimetres(tmp_path, voxels, unit, factor):
    path = save(tmp_path / "a.nii", voxels, np.diag([2.0, 3, 4, 1]), xyzt_units=unit)
    expected = np.multiply((2, 3, 4), factor)
    np.testing.assert_allclose(read_nifti_geometry(path).spacing_mm, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.bool_, np.float16, np.longdouble])
def test_types_that_nifti_lacks_are_written_in_one_that_holds_them(tmp_path, voxels, dtype):
    array = (voxels > 0).astype(dtype)[None]
    write_nifti(array, Geometry.from_spacing((1, 1, 1), (4, 5, 6)), tmp_path / "a.nii")
    assert np.array_equal(read_nifti(tmp_path / "a.nii")[0], array)


def test_axes_longer_than_nifti_1_holds_become_nifti_2(tmp_path):
    array = np.ones((1, 40000, 1, 1), np.uint8)
    write_nifti(array, Geometry.from_spacing((1, 1, 1), (40000, 1, 1)), tmp_path / "a.nii.gz")
    assert isinstance(nib.load(tmp_path / "a.nii.gz"), nib.Nifti2Image)
    assert np.array_equal(read_nifti(tmp_path / "a.nii.gz")[0], array)


def test_the_same_volume_makes_the_same_bytes(tmp_path, voxels):
    geometry = Geometry.from_spacing((1, 1, 1), (4, 5, 6))
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(voxels[None], geometry, tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def spoilt(path: Path, change) -> Path:
    raw = bytearray(gzip.decompress(path.read_bytes()))
    change(raw)
    path.write_bytes(gzip.compress(bytes(raw)))
    return path


def put(offset, value, kind):
    def change(raw):
        raw[offset : offset + np.dtype(kind).itemsize] = np.array(value, kind).tobytes()

    return change


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (put(344, b"abc", "S4"), "its magic is b'abc"),
        (put(0, 7, "<i4"), "does not begin with a NIfTI header"),
        (put(40, 9, "<i2"), "its grid is"),
        (put(42, -3, "<i2"), "its grid is"),
        (put(70, 999, "<i2"), "its data type is 999"),
        (put(42, 30000, "<i2"), "ends before its last voxel"),
        (lambda raw: raw.__delitem__(slice(300, None)), "does not begin with a NIfTI header"),
        (lambda raw: raw.__delitem__(slice(380, None)), "ends before its last voxel"),
    ],
)
def test_a_broken_header_is_refused(tmp_path, voxels, change, what):
    path = spoilt(save(tmp_path / "a.nii.gz", voxels), change)
    with pytest.raises(UnreadableFile, match=what):
        read_nifti(path)


@pytest.mark.parametrize("keep", [5, 20, 100, 0.9, -4])
def test_a_truncated_file_is_refused(tmp_path, voxels, keep):
    path = save(tmp_path / "a.nii.gz", voxels)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(UnreadableFile, match="must be a whole NIfTI file"):
        read_nifti(path)


def test_a_flipped_bit_is_noticed(tmp_path, voxels):
    path = save(tmp_path / "a.nii.gz", voxels)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 16
    path.write_bytes(raw)
    with pytest.raises(UnreadableFile, match="must be a whole NIfTI file"):
        read_nifti(path)


def test_a_name_that_lies_about_compression_is_refused(tmp_path, voxels):
    zipped = save(tmp_path / "a.nii.gz", voxels)
    zipped.rename(tmp_path / "b.nii")
    with pytest.raises(UnreadableFile, match="it is compressed"):
        read_nifti(tmp_path / "b.nii")
    save(tmp_path / "c.nii", voxels).rename(tmp_path / "d.nii.gz")
    with pytest.raises(UnreadableFile, match="it is not compressed"):
        read_nifti(tmp_path / "d.nii.gz")


def test_an_affine_that_is_no_place_is_refused(tmp_path, voxels):
    path = spoilt(save(tmp_path / "a.nii.gz", voxels), put(280, 0, "<f4"))
    with pytest.raises(InvalidGeometry, match="span space"):
        read_nifti(path)


@pytest.mark.data
def test_stored_slopes_of_real_scans_are_applied(data_root):
    path = data_root / "brats2013_crop" / "brats_2013_pat0006_1_0000_flair.nii.gz"
    array, geometry = read_nifti(path)
    image = nib.load(path)
    np.testing.assert_allclose(array[0], image.get_fdata(), atol=1e-6)
    assert np.array_equal(geometry.affine, image.affine)
