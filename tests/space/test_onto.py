import numpy as np

from medseg.space.onto import labels_onto
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap


def test_the_same_voxels_are_moved_and_others_elected():
    grid = Geometry.from_spacing((1, 1, 2), (6, 6, 6))
    array = np.zeros((6, 6, 6), np.uint8)
    array[1:5, 1:5, 2:4] = 1
    mask = LabelMap(array, grid, (Label(value=1, name="a"),))
    part = grid.cropped((-1, 0, 1), (8, 6, 5))
    moved = labels_onto(mask, part)
    assert np.array_equal(moved.array[1:-1], array[:, :, 1:])
    assert labels_onto(moved, grid).volumes_ml() == mask.volumes_ml()
    finer = Geometry.from_spacing((0.5, 0.5, 1.0), (12, 12, 12), origin_mm=(-0.25, -0.25, -0.5))
    assert np.isclose(labels_onto(mask, finer).volumes_ml()["a"], mask.volumes_ml()["a"], rtol=0.1)
