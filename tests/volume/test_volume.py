import numpy as np
import pytest

from medseg.errors import InvalidGeometry, LabelError
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume

GEOMETRY = Geometry.from_spacing((1, 2, 5), (2, 3, 4))
LABELS = (Label(value=2, name="b"), Label(value=1, name="a"))


@pytest.mark.parametrize(
    ("array", "names", "what"),
    [
        (np.zeros((2, 3, 4)), ("image",), "shape"),
        (np.zeros((1, 2, 3, 5)), ("image",), "shape"),
        (np.zeros((1, 2, 3, 4), complex), ("image",), "real numbers"),
        (np.zeros((2, 2, 3, 4)), ("image",), "1 names for 2 channels"),
    ],
)
def test_a_volume_fits_its_geometry(array, names, what):
    with pytest.raises(InvalidGeometry, match=what):
        Volume(array, GEOMETRY, names)


def test_a_label_map_fits_its_geometry_and_labels():
    with pytest.raises(InvalidGeometry, match="shape"):
        LabelMap(np.zeros((2, 3, 5), int), GEOMETRY, LABELS)
    with pytest.raises(LabelError, match="holds integers"):
        LabelMap(np.zeros((2, 3, 4)), GEOMETRY, LABELS)
    for dtype in (np.uint8, np.int32):
        with pytest.raises(LabelError, match="values 7"):
            LabelMap(np.full((2, 3, 4), 7, dtype), GEOMETRY, LABELS)
    with pytest.raises(LabelError, match="values 3, 4, 5, 6, 7, 8, 9, 10 and 13 more"):
        LabelMap(np.arange(24).reshape(2, 3, 4), GEOMETRY, LABELS)


def test_volumes_are_in_millilitres_and_absent_labels_are_zero():
    array = np.zeros((2, 3, 4), np.uint8)
    array[0] = 1
    label_map = LabelMap(array, GEOMETRY, LABELS)
    assert label_map.volumes_ml() == pytest.approx({"a": 0.12, "b": 0.0})
    assert label_map.labels[0].name == "a"
    assert label_map.mask(label_map.labels[0]).sum() == 12


def test_reorienting_keeps_names_labels_and_volumes():
    volume = Volume(np.zeros((2, 2, 3, 4)), GEOMETRY, ("t1", "t2")).reoriented("SLA")
    assert volume.array.shape == (2, 4, 2, 3)
    assert volume.channel_names == ("t1", "t2")
    array = np.zeros((2, 3, 4), np.uint8)
    array[1, 2, 3] = 2
    label_map = LabelMap(array, GEOMETRY, LABELS).reoriented("SLA")
    assert label_map.array[3, 0, 2] == 2
    assert label_map.volumes_ml()["b"] == pytest.approx(0.01)
