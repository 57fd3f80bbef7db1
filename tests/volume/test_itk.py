import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medseg.errors import UnknownFormat, UnreadableFile
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_geometry, read_volume, write_volume
from medseg.volume.volume import Volume

TURNED = np.array([[0, -0.7, 0, 5.5], [0.9, 0, 0, -3.25], [0, 0, -2, 11], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8", "?"])
def test_values_type_and_place_come_back(tmp_path, suffix, dtype):
    array = np.random.default_rng(0).integers(0, 2, (2, 4, 5, 6)).astype(dtype)
    volume = Volume(array, Geometry(TURNED, (4, 5, 6)), ("a", "b"))
    write_volume(volume, tmp_path / f"a{suffix}")
    again = read_volume(tmp_path / f"a{suffix}")
    assert np.array_equal(again.array, array)
    assert again.array.dtype == (np.uint8 if dtype == "?" else dtype)
    np.testing.assert_allclose(again.geometry.affine, TURNED, atol=1e-12)
    assert read_geometry(tmp_path / f"a{suffix}") == again.geometry


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr"])
def test_we_read_what_itk_writes(tmp_path, suffix):
    array = np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32)
    image = sitk.GetImageFromArray(array)
    image.SetOrigin((1, 2, 3))
    image.SetSpacing((0.5, 0.6, 2))
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    volume = read_volume(tmp_path / f"a{suffix}")
    assert np.array_equal(volume.array[0], array.T)
    expected = np.diag([-0.5, -0.6, 2, 1])
    expected[:3, 3] = -1, -2, 3
    np.testing.assert_allclose(volume.geometry.affine, expected)


def test_a_flat_image_is_one_slice(tmp_path):
    array = np.arange(20, dtype=np.int16).reshape(5, 4)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "a.mha"))
    volume = read_volume(tmp_path / "a.mha")
    assert np.array_equal(volume.array[0, :, :, 0], array.T)


def test_a_fourth_axis_is_channels(tmp_path):
    array = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    image = sitk.JoinSeries([sitk.GetImageFromArray(part) for part in array])
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    volume = read_volume(tmp_path / "a.nrrd")
    assert np.array_equal(volume.array, array.transpose(0, 3, 2, 1))


def test_what_the_format_cannot_hold_is_refused(tmp_path):
    array = np.zeros((1, 4, 5, 6), np.float32)
    sheared = np.array([[1, 0, 0.5, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    with pytest.raises(UnknownFormat, match="right angles"):
        write_volume(Volume(array, Geometry(sheared, (4, 5, 6))), tmp_path / "a.mha")
    with pytest.raises(UnknownFormat, match="one file"):
        write_volume(Volume(array, Geometry(TURNED, (4, 5, 6))), tmp_path / "a.mhd")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd", "a.mhd"])
def test_a_broken_file_is_refused(tmp_path, name):
    path = tmp_path / name
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((6, 5, 4), np.float32)), str(path))
    whole = path.read_bytes()
    if name == "a.mhd":
        (tmp_path / "a.raw").unlink()
    else:
        path.write_bytes(whole[:-100])
    with pytest.raises(UnreadableFile, match="must be a whole image"):
        read_volume(path)
    path.write_bytes(b"\x89PNG" + bytes(40))
    with pytest.raises(UnreadableFile, match="must be a whole image"):
        read_volume(path)
