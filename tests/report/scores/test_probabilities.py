import numpy as np
import pytest

from medseg.errors import DifferentSpace, EvaluationError
from medseg.report.scores.probabilities import read_probabilities
from medseg.report.scores.structures import Region, Structures
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_volume
from medseg.volume.volume import Volume


def written(path, array, geometry):
    names = tuple(f"c{n}" for n in range(len(array)))
    write_volume(Volume(np.asarray(array, np.float32), geometry, names), path)
    return path


@pytest.fixture
def structures(boxes):
    return Structures(boxes.labels, (Region("both", (1, 2)),))


def channels(boxes, *numbers):
    return [np.full(boxes.geometry.grid_size, number) for number in numbers]


@pytest.mark.parametrize("numbers", [(0.3, 0.5, 0.2), (0.5, 0.2)])
def test_the_background_may_come_first_or_not_at_all(boxes, structures, tmp_path, numbers):
    path = written(tmp_path / "p.nii.gz", channels(boxes, *numbers), boxes.geometry)
    probability = read_probabilities(path, structures, boxes.geometry)
    found = [probability(name)[0, 0, 0] for name in ("core", "rim", "both")]
    assert found == pytest.approx([0.5, 0.2, 0.7])


def test_other_axes_are_turned(boxes, structures, tmp_path):
    array = np.random.default_rng(0).uniform(0, 0.5, (2, *boxes.geometry.grid_size))
    volume = Volume(array.astype(np.float32), boxes.geometry, ("a", "b"))
    write_volume(volume.reoriented("SPL"), tmp_path / "p.nii.gz")
    probability = read_probabilities(tmp_path / "p.nii.gz", structures, boxes.geometry)
    assert probability("rim") == pytest.approx(volume.array[1])


@pytest.mark.parametrize(
    ("numbers", "match"),
    [
        ((0.5,), r"channel for each label.*1 channels in p\.nii\.gz, labels \[1, 2\]"),
        ((0.1,) * 4, "4 channels"),
        ((0.5, 2.0), r"between 0 and 1.*0\.5 to 2 in.*softmax"),
        ((0.5, np.nan), "between 0 and 1"),
    ],
)
def test_what_are_no_probabilities_is_refused(boxes, structures, tmp_path, numbers, match):
    path = written(tmp_path / "p.nii.gz", channels(boxes, *numbers), boxes.geometry)
    with pytest.raises(EvaluationError, match=match):
        read_probabilities(path, structures, boxes.geometry)


def test_another_grid_is_refused(boxes, structures, tmp_path):
    other = Geometry.from_spacing((1.0, 1.0, 3.0), boxes.geometry.grid_size)
    path = written(tmp_path / "p.nii.gz", channels(boxes, 0.5, 0.2), other)
    with pytest.raises(DifferentSpace, match=r"p\.nii\.gz and its reference"):
        read_probabilities(path, structures, boxes.geometry)
