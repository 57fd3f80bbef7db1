import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medseg.errors import InvalidGeometry
from medseg.space.grids import Mapping, grid_at_spacing
from medseg.space.resample import resample_array, resample_labels, resample_volume
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Source, Volume

GRID = Geometry(np.diag([1.0, 1.2, 2.0, 1.0]), (14, 12, 9))
LABELS = tuple(Label(value=v, name=f"organ {v}") for v in (3, 7, 11))


@pytest.fixture
def scan():
    array = np.random.default_rng(0).normal(100, 30, (2, 14, 12, 9)).astype(np.float32)
    return Volume(array, GRID, ("t1", "t2"), Source(format="nifti", modality="MR"))


@pytest.fixture
def organs():
    values = np.random.default_rng(0).choice([0, 3, 7, 11], (5, 4, 3))
    array = values.repeat(3, 0).repeat(3, 1).repeat(3, 2)[:14].astype(np.uint8)
    return LabelMap(array, GRID, LABELS)


def rotated(degrees=20.0, grid_size=(12, 11, 10)):
    angle = np.deg2rad(degrees)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, 3] = 2, -1, 3
    return Geometry(affine, grid_size)


def as_itk(array, geometry):
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    frame = geometry.to_lps()
    image.SetSpacing(frame.spacing_mm)
    image.SetOrigin(frame.origin_mm.tolist())
    image.SetDirection(frame.direction.ravel().tolist())
    return image


def by_itk(array, source, target, interpolator, outside):
    reference = as_itk(np.zeros(target.grid_size, np.float32), target)
    moved = sitk.Resample(as_itk(array, source), reference, sitk.Transform(), interpolator, outside)
    return sitk.GetArrayFromImage(moved).T


@pytest.mark.parametrize("target", [rotated(), grid_at_spacing(GRID, (0.7, 2.0, 1.1))])
@pytest.mark.parametrize("kind", ["linear", "nearest"])
def test_images_are_those_of_simpleitk(scan, target, kind):
    ours = resample_volume(scan, target, interpolation=kind, outside=-50.0, anti_alias=False)
    name = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor}[kind]
    theirs = by_itk(scan.array[1], GRID, target, name, -50.0)
    np.testing.assert_allclose(ours.array[1], theirs, atol=5e-3)


def shifted(grid):
    """Moved by a little, so that hardly any voxel lies half way between two others."""
    affine = grid.affine.copy()
    affine[:3, 3] += 0.031, 0.017, 0.023
    return Geometry(affine, grid.grid_size)


@pytest.mark.parametrize("grid", [rotated(), grid_at_spacing(GRID, (0.7, 2.0, 1.1))])
def test_label_votes_are_those_of_simpleitk(organs, grid):
    target = shifted(grid)
    ours = resample_labels(organs, target)
    theirs = by_itk(organs.array, GRID, target, sitk.sitkLabelLinear, 0)
    assert (ours.array != theirs).mean() < 2e-3


def test_a_volume_keeps_its_names_and_source(scan):
    moved = resample_volume(scan, rotated())
    assert moved.channel_names == ("t1", "t2")
    assert moved.source == scan.source
    assert moved.array.dtype == np.float32
    assert moved.geometry == rotated()


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float64, np.bool_])
def test_any_number_type_becomes_float32(kind):
    array = (np.arange(24).reshape(1, 2, 3, 4) % 2).astype(kind)
    volume = Volume(array, Geometry(np.eye(4), (2, 3, 4)))
    same = resample_volume(volume, volume.geometry)
    assert same.array.dtype == np.float32
    np.testing.assert_array_equal(same.array, array)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int64])
def test_a_label_map_keeps_its_type(organs, kind):
    typed = LabelMap(organs.array.astype(kind), GRID, LABELS)
    moved = resample_labels(typed, rotated())
    assert moved.array.dtype == kind
    np.testing.assert_array_equal(moved.array, resample_labels(organs, rotated()).array)
    assert moved.labels == organs.labels


def test_large_label_values_stay():
    array = np.zeros((4, 4, 4), np.int32)
    array[2:] = 65535
    big = LabelMap(array, Geometry(np.eye(4), (4, 4, 4)), (Label(value=65535, name="last"),))
    finer = resample_labels(big, grid_at_spacing(big.geometry, (0.5, 0.5, 0.5)))
    np.testing.assert_array_equal(finer.array, array.repeat(2, 0).repeat(2, 1).repeat(2, 2))


@pytest.mark.parametrize("target", [rotated(), GRID.cropped((-3, 0, 0), (8, 12, 9))])
@pytest.mark.parametrize("kind", ["linear", "cubic", "nearest"])
def test_outside_is_each_channels_smallest_value_or_the_given_one(scan, target, kind):
    mapping = Mapping(GRID, target)
    index = np.indices(target.grid_size).reshape(3, -1)
    at = mapping.matrix[:3, :3] @ index + mapping.matrix[:3, 3:]
    last = np.array(GRID.grid_size)[:, None] - 0.5
    beyond = ((at < -0.5) | (at > last)).any(axis=0).reshape(target.grid_size)
    assert beyond.any()
    darkest = resample_volume(scan, target, interpolation=kind, anti_alias=False)
    for channel, source in zip(darkest.array, scan.array, strict=True):
        assert (channel[beyond] == source.min()).all()
    given = resample_volume(scan, target, interpolation=kind, outside=-1000.0)
    assert (given.array[:, beyond] == -1000).all()
    assert (given.array[:, ~beyond] > -900).all()


def test_labels_outside_are_background(organs):
    full = LabelMap(np.full(GRID.grid_size, 7, np.uint8), GRID, LABELS)
    moved = resample_labels(full, GRID.cropped((-1, -2, 0), (16, 16, 12)))
    assert (moved.array[1:15, 2:14, :9] == 7).all()
    assert moved.array.sum() == 7 * np.prod(GRID.grid_size)


def test_the_rim_holds_the_value_of_the_outermost_centres(scan):
    finer = grid_at_spacing(GRID, (0.25, 1.2, 2.0))
    for kind in ("linear", "cubic"):
        moved = resample_volume(scan, finer, interpolation=kind)
        np.testing.assert_allclose(moved.array[:, 0], scan.array[:, 0], rtol=1e-5)
        np.testing.assert_allclose(moved.array[:, -1], scan.array[:, -1], rtol=1e-5)


def test_smoothing_takes_away_what_a_coarser_grid_cannot_hold():
    size = 64
    wave = np.tile((-1.0) ** np.arange(size), (1, 4, 4, 1)).transpose(0, 3, 1, 2)
    fine = Volume(wave.astype(np.float32), Geometry(np.eye(4), (size, 4, 4)))
    coarse = grid_at_spacing(fine.geometry, (3.0, 1.0, 1.0))
    for kind in ("linear", "cubic"):
        aliased = resample_volume(fine, coarse, interpolation=kind, anti_alias=False)
        smooth = resample_volume(fine, coarse, interpolation=kind)
        assert np.abs(aliased.array).max() > 0.9
        assert np.abs(smooth.array[:, 1:-1]).max() < 0.02


def test_only_shrinking_axes_are_smoothed(scan):
    mixed = grid_at_spacing(GRID, (0.5, 1.2, 4.0))
    smooth = resample_volume(scan, mixed, interpolation="linear")
    along_k = resample_volume(scan, grid_at_spacing(GRID, (1.0, 1.2, 4.0)))
    again = resample_volume(along_k, mixed, anti_alias=False)
    np.testing.assert_allclose(smooth.array, again.array, rtol=1e-4)


def test_nearest_is_never_smoothed(scan):
    coarse = grid_at_spacing(GRID, (3.0, 3.0, 3.0))
    moved = resample_volume(scan, coarse, interpolation="nearest")
    assert np.isin(moved.array, scan.array).all()


@pytest.mark.parametrize("kind", ["linear", "cubic", "nearest"])
@pytest.mark.parametrize("target_size", [(9, 7, 1), (9, 7, 3)])
def test_a_picture_is_a_volume_of_one_slice(kind, target_size):
    picture = np.random.default_rng(0).random((3, 6, 5, 1), dtype=np.float32)
    flat = Geometry(np.diag([-1.0, -1.0, 1.0, 1.0]), (6, 5, 1))
    step = np.diag([6 / 9, 5 / 7, 1 / target_size[2], 1.0])
    step[:3, 3] = (np.diag(step)[:3] - 1) / 2
    target = Geometry(flat.affine @ step, target_size)
    moved = resample_array(picture, flat, target, interpolation=kind)
    assert moved.shape == (3, *target_size)
    assert np.ptp(moved, axis=3).max() == 0
    one = Geometry(np.eye(4), (1, 1, 1))
    dot = np.full((1, 1, 1, 1), 4.0, np.float32)
    assert resample_array(dot, one, rotated(grid_size=(3, 3, 3)), interpolation=kind).min() == 4


def test_a_picture_of_labels_is_a_volume_of_one_slice():
    flat = Geometry(np.eye(4), (4, 4, 1))
    array = np.zeros((4, 4, 1), np.uint8)
    array[2:] = 3
    finer = resample_labels(LabelMap(array, flat, LABELS), grid_at_spacing(flat, (0.5, 0.5, 1.0)))
    assert finer.array[4:].min() == 3
    assert finer.array[:4].max() == 0


def test_any_memory_order_gives_the_same(scan, organs):
    target = grid_at_spacing(GRID, (0.8, 0.8, 0.8))
    plain = resample_array(scan.array, GRID, target, interpolation="cubic")
    for turned in ((0, 3, 2, 1), (3, 1, 0, 2)):
        stored = np.ascontiguousarray(scan.array.transpose(turned))
        view = stored.transpose(np.argsort(turned))
        moved = resample_array(view, GRID, target, interpolation="cubic")
        np.testing.assert_allclose(moved, plain, atol=1e-3)
    fortran = LabelMap(np.asfortranarray(organs.array), GRID, LABELS)
    np.testing.assert_array_equal(
        resample_labels(fortran, target).array, resample_labels(organs, target).array
    )


def test_a_read_only_image_is_left_as_it_is(scan):
    scan.array.flags.writeable = False
    before = scan.array.copy()
    resample_volume(scan, rotated(), interpolation="cubic")
    resample_volume(scan, grid_at_spacing(GRID, (2, 2, 2)), interpolation="cubic")
    np.testing.assert_array_equal(scan.array, before)


@pytest.mark.parametrize(
    "array",
    [np.zeros((14, 12, 9), np.float32), np.zeros((1, 14, 12, 9)), np.zeros((1, 9, 9, 9), "f4")],
)
def test_the_core_takes_float32_channels_of_its_grid(array):
    with pytest.raises(InvalidGeometry, match="float32 channels"):
        resample_array(array, GRID, rotated(), interpolation="linear")


def test_an_interpolation_has_a_known_name(scan):
    with pytest.raises(ValueError, match="linear, cubic or nearest"):
        resample_volume(scan, rotated(), interpolation="lanczos")
