import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile
from PIL import Image

from medseg.errors import LabelError, UnknownFormat, UnreadableFile
from medseg.volume.geometry import Geometry, picture_geometry
from medseg.volume.io import read_geometry, read_label_map, read_volume, write_volume
from medseg.volume.volume import Volume


@pytest.fixture
def pixels():
    """7 rows, 5 columns, 3 colours."""
    return np.random.default_rng(0).integers(0, 255, (7, 5, 3)).astype(np.uint8)


def test_columns_are_i_and_rows_are_j(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    volume = read_volume(tmp_path / "a.png")
    assert volume.array.shape == (3, 5, 7, 1)
    assert volume.array[1, 4, 2, 0] == pixels[2, 4, 1]
    assert volume.channel_names == ("red", "green", "blue")
    assert np.array_equal(volume.geometry.affine, np.diag([-1, -1, 1, 1]))
    assert read_geometry(tmp_path / "a.png") == volume.geometry


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_opaque_alpha_is_dropped_and_other_alpha_kept(tmp_path, pixels, suffix):
    alpha = np.full((7, 5, 1), 255, np.uint8)
    for name, level in (("opaque", 255), ("clear", 7)):
        alpha[0, 0] = level
        Image.fromarray(np.concatenate([pixels, alpha], 2)).save(tmp_path / f"{name}{suffix}")
    assert read_volume(tmp_path / f"opaque{suffix}").array.shape[0] == 3
    assert read_volume(tmp_path / f"clear{suffix}").array.shape[0] == 4


def test_grey_with_opaque_alpha_is_one_channel(tmp_path, pixels):
    grey = np.stack([pixels[..., 0], np.full((7, 5), 255, np.uint8)], 2)
    Image.fromarray(grey, mode="LA").save(tmp_path / "a.png")
    assert read_volume(tmp_path / "a.png").array.shape[0] == 1


@pytest.mark.parametrize("equal", [True, False])
def test_colours_stay_colours_even_if_equal(tmp_path, pixels, equal):
    colours = np.repeat(pixels[..., :1], 3, 2) if equal else pixels
    Image.fromarray(colours).save(tmp_path / "a.png")
    assert read_volume(tmp_path / "a.png").array.shape[0] == 3


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint16), (3, np.uint16)])
def test_sixteen_bits_are_kept(tmp_path, channels, dtype):
    values = np.random.default_rng(0).integers(0, 65535, (7, 5, channels)).astype(dtype)
    image = sitk.GetImageFromArray(values[..., 0] if channels == 1 else values, channels > 1)
    sitk.WriteImage(image, str(tmp_path / "a.png"))
    volume = read_volume(tmp_path / "a.png")
    assert volume.array.dtype == dtype
    assert np.array_equal(volume.array[..., 0], values.transpose(2, 1, 0))


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "RGB"])
def test_label_values_are_read_in_every_mode(tmp_path, mode):
    values = np.random.default_rng(0).integers(0, 2, (7, 5)).astype(np.uint8)
    if mode == "1":
        image = Image.fromarray(values.astype(bool))
    elif mode == "P":
        image = Image.fromarray(values, mode="P")
        image.putpalette([9, 9, 9, 200, 0, 0])
    elif mode == "I;16":
        values = values.astype(np.uint16) * 300
        image = Image.fromarray(values)
    else:
        image = Image.fromarray(values).convert(mode)
    image.save(tmp_path / "a.png")
    label_map = read_label_map(tmp_path / "a.png")
    assert np.array_equal(label_map.array[..., 0], values.T)
    assert label_map.labels[0].name == f"label_{values.max()}"


def test_colours_are_no_label_values(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(LabelError, match="colours"):
        read_label_map(tmp_path / "a.png")


def test_a_palette_image_is_its_colours(tmp_path, pixels):
    image = Image.fromarray(pixels[..., 0] % 2, mode="P")
    image.putpalette([9, 8, 7, 200, 100, 0])
    image.save(tmp_path / "a.png")
    volume = read_volume(tmp_path / "a.png")
    assert volume.array[:, 0, 0, 0].tolist() in ([9, 8, 7], [200, 100, 0])


def test_a_jpeg_is_read_and_not_written(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.jpg", dpi=(72, 72))
    volume = read_volume(tmp_path / "a.jpg")
    assert volume.array.shape == (3, 5, 7, 1)
    assert volume.spacing_mm == (1, 1, 1)
    with pytest.raises(UnknownFormat, match="without loss"):
        write_volume(volume, tmp_path / "b.jpg")


def test_a_png_holds_no_place_and_no_stack(tmp_path):
    flat = np.zeros((1, 5, 7, 1), np.uint8)
    moved = Volume(flat, Geometry.from_spacing((0.5, 0.5, 1), (5, 7, 1)))
    with pytest.raises(UnknownFormat, match="no place in a patient"):
        write_volume(moved, tmp_path / "a.png")
    with pytest.raises(UnknownFormat, match="one slice of 8 or 16 bits"):
        write_volume(
            Volume(flat.astype(np.float32), picture_geometry((5, 7, 1))), tmp_path / "a.png"
        )
    stack = Volume(np.zeros((1, 5, 7, 2), np.uint8), picture_geometry((5, 7, 2)))
    with pytest.raises(UnknownFormat, match="one slice of 8 or 16 bits"):
        write_volume(stack, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_pages_of_a_tiff_are_k(tmp_path, compression):
    stack = np.random.default_rng(0).integers(0, 999, (4, 7, 5)).astype(np.uint16)
    kind = {"photometric": "minisblack", "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", stack, compression=compression, **kind)
    assert np.array_equal(read_volume(tmp_path / "a.tif").array[0], stack.T)
    assert read_geometry(tmp_path / "a.tif").grid_size == (5, 7, 4)


def test_compressions_that_tifffile_lacks_are_read_by_pillow(tmp_path, pixels):
    first, second = (Image.fromarray(pixels[..., n]) for n in (0, 1))
    first.save(tmp_path / "a.tif", compression="tiff_lzw", save_all=True, append_images=[second])
    volume = read_volume(tmp_path / "a.tif")
    assert np.array_equal(volume.array[0], pixels[..., :2].transpose(1, 0, 2))


def test_a_tiff_keeps_the_whole_affine(tmp_path):
    affine = np.array([[0.1, 0.2, 1, 5], [1, 0, 0.3, 6], [0, -2, 1 / 3, 7], [0, 0, 0, 1]])
    for channels, dtype in ((1, np.float32), (3, np.uint8), (2, np.int16), (1, np.bool_)):
        array = np.random.default_rng(0).integers(0, 2, (channels, 5, 7, 4)).astype(dtype)
        volume = Volume(array, Geometry(affine, (5, 7, 4)), tuple("abc"[:channels]))
        write_volume(volume, tmp_path / "a.tif")
        again = read_volume(tmp_path / "a.tif")
        assert again.geometry == volume.geometry
        assert np.array_equal(again.array, array)


def test_physical_sizes_of_microscopes_are_read(tmp_path):
    stack = np.zeros((4, 7, 5), np.uint8)
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        stack,
        metadata={"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 2},
    )
    assert read_geometry(tmp_path / "a.ome.tif").spacing_mm == pytest.approx((5e-4, 2.5e-4, 2e-3))
    tifffile.imwrite(
        tmp_path / "b.tif",
        stack,
        imagej=True,
        resolution=(4, 2),
        metadata={"spacing": 3.0, "unit": "um", "axes": "ZYX"},
    )
    assert read_geometry(tmp_path / "b.tif").spacing_mm == pytest.approx((2.5e-4, 5e-4, 3e-3))


def test_time_series_are_refused(tmp_path):
    stack = np.zeros((2, 3, 7, 5), np.uint8)
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata={"axes": "TZYX"})
    with pytest.raises(UnknownFormat, match="axes TZYX of 2 x 3 x 7 x 5"):
        read_volume(tmp_path / "a.ome.tif")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp"])
def test_a_broken_picture_is_refused(tmp_path, pixels, name):
    path = tmp_path / name
    Image.fromarray(pixels).save(path)
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], b"GIF89a" + bytes(40), whole[:9]):
        path.write_bytes(broken)
        with pytest.raises(UnreadableFile, match="must be a whole picture"):
            read_volume(path)


@pytest.mark.data
def test_real_pictures_have_their_channels(data_root):
    nucleus = sorted((data_root / "nuclei_2d" / "images").iterdir())[0]
    assert read_volume(nucleus).array.shape == (3, 256, 256, 1)
    section = data_root / "em_membrane_2d" / "images" / "00.png"
    assert read_volume(section).array.shape == (1, 512, 512, 1)
    mri = sorted((data_root / "lgg_2d_multichannel").glob("*/*_[0-9].tif"))[0]
    assert read_volume(mri).array.shape == (3, 256, 256, 1)
    mask = sorted((data_root / "cxr_2d" / "masks").iterdir())[0]
    assert [label.value for label in read_label_map(mask).labels] == [1]
