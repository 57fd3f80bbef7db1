"""Resampling as nnU-Net does it, against scipy's zoom that lies beneath it."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates, zoom

from medseg.space.grids import grid_at_spacing
from medseg.space.nnunet import apart_axis, resample_as_nnunet, returning
from medseg.space.votes import TopClasses, vote
from medseg.volume.geometry import Geometry

SIZE = (14, 12, 10)


def grid(spacing_mm=(1.0, 1.0, 1.0), size=SIZE):
    return Geometry(np.diag([*spacing_mm, 1.0]), size)


def smooth(size=SIZE, seed=0):
    noise = np.random.default_rng(seed).normal(size=(1, *(-(-n // 2) for n in size)))
    fine = zoom(noise, (1, 2, 2, 2), order=3)
    return np.ascontiguousarray(fine[:, : size[0], : size[1], : size[2]], np.float32)


def zoomed(array, size, order):
    """What skimage's resize does with mode "edge" and without smoothing."""
    factors = [new / old for new, old in zip(size, array.shape, strict=True)]
    moved = zoom(array.astype(float), factors, order=order, mode="nearest", grid_mode=True)
    return np.clip(moved, array.min(), array.max())


@pytest.mark.parametrize(
    ("current", "new", "axis"),
    [
        ((1, 1, 3), (1, 1, 1), None),
        ((1, 1, 3.1), (1, 1, 1), 2),
        ((1, 4, 1), (1, 1, 5), 1),
        ((1, 1, 1), (5, 1, 1), 0),
        ((0.2, 1, 1), (1, 1, 1), None),
        ((1, 1, 1), (1, 1, 1), None),
    ],
)
def test_slices_are_apart_above_three_and_the_current_grid_decides(current, new, axis):
    assert apart_axis(current, new) == axis


@pytest.mark.parametrize("spacing", [(0.7, 0.8, 1.3), (1.6, 1.4, 0.9), (2.0, 2.0, 2.0)])
def test_cubic_inside_as_scipy_and_never_beyond_the_values(spacing):
    image, source = smooth(), grid()
    target = grid_at_spacing(source, spacing)
    ours = resample_as_nnunet(image, source, target, None)[0]
    theirs = zoomed(image[0], target.grid_size, 3)
    assert ours.shape == theirs.shape
    assert ours.min() >= image.min()
    assert ours.max() <= image.max()
    assert np.abs(ours - theirs).max() < 1e-4


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_apart_each_is_the_nearest_one(axis):
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = 4.0
    source = grid(tuple(spacing))
    image = smooth()
    target = grid_at_spacing(source, (1.2, 1.2, 1.2))
    ours = resample_as_nnunet(image, source, target, axis)[0]
    within = [n for n in range(3) if n != axis]
    slices = np.moveaxis(image[0], axis, 0)
    size = [target.grid_size[n] for n in within]
    moved = np.stack([zoomed(one, size, 3) for one in slices])
    count = target.grid_size[axis]
    at = len(slices) / count * (np.arange(count) + 0.5) - 0.5
    chosen = map_coordinates(np.arange(len(slices)), at[None], order=0, mode="nearest")
    theirs = np.moveaxis(moved[chosen], 0, axis)
    assert np.abs(ours - theirs).max() < 1e-4


def test_each_slice_keeps_to_its_own_values():
    image = np.zeros((1, *SIZE), np.float32)
    image[:, 4:9, 4:9] = np.arange(1, 11, dtype=np.float32)
    source = grid((1.0, 1.0, 4.0))
    target = grid_at_spacing(source, (0.6, 0.6, 4.0))
    moved = resample_as_nnunet(image, source, target, 2)
    assert moved.min() == 0
    assert np.array_equal(moved.max(axis=(0, 1, 2)), image.max(axis=(0, 1, 2)))


def test_the_way_back_is_linear_within_slices_and_nearest_across():
    network, case = grid((1, 1, 1), (8, 8, 8)), grid((1.6, 1.6, 4.0), (5, 5, 2))
    shift = np.eye(4)
    shift[:3, 3] = (np.array(case.spacing_mm) - 1) / 2
    case = Geometry(shift @ case.affine, case.grid_size)
    generator = np.random.default_rng(1)
    weights = generator.random((2, 8, 8, 8)).astype(np.float32)
    top = TopClasses.empty(2, network)
    top.weights[:] = weights
    ours = vote(returning(top, case, 2), case)
    in_plane = np.stack(
        [
            [zoom(s, (5 / 8, 5 / 8), order=1, mode="nearest", grid_mode=True) for s in channel.T]
            for channel in weights
        ]
    )
    chosen = in_plane[:, [2, 6]].transpose(0, 3, 2, 1)
    assert np.array_equal(ours, chosen.argmax(0))


def test_slices_that_nothing_keeps_apart_stay():
    top = TopClasses.empty(2, grid())
    assert returning(top, grid((2, 2, 2), (7, 6, 5)), None) is top
