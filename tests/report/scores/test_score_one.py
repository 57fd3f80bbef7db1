import math

import numpy as np
import pytest

from medseg.errors import InvalidGeometry, LabelError
from medseg.metrics.case import score_case
from medseg.report.scores.pairs import Pair
from medseg.report.scores.score_one import score_pair
from medseg.report.scores.settings import ScoreSettings
from medseg.report.scores.structures import Region
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.volume import LabelMap, Volume

SETTINGS = ScoreSettings()
BOTH = Region("both", (1, 2))


def assert_alike(one, other):
    """Equal up to the order of sums."""
    for name, number in vars(one).items():
        expected = getattr(other, name)
        assert number == (pytest.approx(expected) if isinstance(expected, float) else expected)


@pytest.fixture
def pair(study):
    name = "b_shifted.nii.gz"
    return Pair("b_shifted", study / "labelsTr" / name, study / "masks" / name)


def test_labels_are_scored_as_score_case_does(boxes, pair):
    found = score_pair(pair, boxes.labels, (), SETTINGS)
    expected = score_case(
        boxes.make_map(1).array, boxes.make_map().array, values=[1, 2], spacing_mm=(1.0, 1.0, 2.0)
    )
    assert list(found.scores) == ["core", "rim"]
    assert_alike(found.scores["core"], expected[1])
    assert_alike(found.scores["rim"], expected[2])
    assert found.diagonal_mm == pytest.approx(math.sqrt(16**2 + 14**2 + 16**2))


def test_a_region_is_scored_as_the_union_of_its_values(boxes, pair):
    found = score_pair(pair, boxes.labels, (BOTH, Region("core too", (1,))), SETTINGS)
    there, here = boxes.make_map(1).array > 0, boxes.make_map().array > 0
    union = score_case(there, here, values=[1], spacing_mm=(1.0, 1.0, 2.0))[1]
    assert list(found.scores) == ["core", "rim", "both", "core too"]
    assert_alike(found.scores["both"], union)
    assert found.scores["core too"] == found.scores["core"]


def test_regions_may_stand_alone(pair):
    assert list(score_pair(pair, (), (BOTH,), SETTINGS).scores) == ["both"]
    with pytest.raises(LabelError, match="values 2 in the prediction of case b_shifted; known are"):
        score_pair(pair, (), (Region("core", (1,)),), SETTINGS)


def test_an_error_names_its_case_even_if_that_has_a_short_name(boxes, study):
    import nibabel as nib

    image = nib.Nifti1Image(boxes.make_map().array, None)
    image.header.set_sform(np.diag([1.0, 0.0, 2.0, 1.0]), code=1)
    nib.save(image, study / "masks" / "a.nii.gz")
    pair = Pair("a", study / "labelsTr" / "b_shifted.nii.gz", study / "masks" / "a.nii.gz")
    with pytest.raises(InvalidGeometry) as refusal:
        score_pair(pair, boxes.labels, (), SETTINGS)
    assert str(refusal.value) == (
        "The three axes of a grid must span space. Received: axis lengths (1.0, 0.0, 2.0) mm in "
        "case a. Repair the header of the file, or convert it again from its source."
    )


def test_each_structure_has_its_own_tolerance(boxes, pair):
    own = ScoreSettings(tolerance_mm=0.0, tolerances_mm={"rim": 1.0})
    found = score_pair(pair, boxes.labels, (), own).scores
    wide = score_pair(pair, boxes.labels, (), ScoreSettings(tolerance_mm=1.0)).scores
    tight = score_pair(pair, boxes.labels, (), ScoreSettings(tolerance_mm=0.0)).scores
    assert found["rim"] == wide["rim"] != tight["rim"]
    assert found["core"] == tight["core"] != wide["core"]


def test_the_surface_is_that_of_the_settings(boxes, pair):
    borders = score_pair(pair, boxes.labels, (), ScoreSettings(surface="borders")).scores["core"]
    elements = score_pair(pair, boxes.labels, (), SETTINGS).scores["core"]
    assert borders.dice == elements.dice
    assert borders.assd != elements.assd


def test_only_tubes_have_a_cldice(boxes, pair):
    found = score_pair(pair, boxes.labels, (BOTH,), ScoreSettings(tubes=("rim", "both"))).scores
    assert found["core"].cldice is None
    assert 0.0 <= found["rim"].cldice <= 1.0
    assert found["both"].cldice is not None


def test_what_was_never_predicted_is_missed_even_where_it_is_absent(boxes, study):
    pair = Pair("d_forgotten", study / "labelsTr" / "d_forgotten.nii.gz", None)
    found = score_pair(pair, boxes.labels, (BOTH,), ScoreSettings(tubes=("rim",))).scores
    assert {one.status for one in found.values()} == {"missed"}
    assert found["core"].volume_difference_ml == -found["core"].reference_ml < 0
    rim = found["rim"]
    assert (rim.dice, rim.hd95, rim.reference_ml, rim.volume_difference_ml) == (0, math.inf, 0, 0)
    assert rim.cldice == 0.0


def spots(boxes, *centres):
    """A map of label 1 with small cubes."""
    array = np.zeros(boxes.geometry.grid_size, np.uint8)
    for i, j, k in centres:
        array[i : i + 2, j : j + 2, k : k + 2] = 1
    return LabelMap(array, boxes.geometry, boxes.labels[:1])


def test_lesions_are_counted_one_by_one(boxes, study, pair):
    write_label_map(spots(boxes, (1, 1, 1), (8, 8, 1)), pair.reference)
    write_label_map(spots(boxes, (1, 1, 1), (12, 2, 5)), pair.predicted)
    found = score_pair(pair, boxes.labels, (BOTH,), ScoreSettings(lesions=("core", "both")))
    assert set(found.lesions) == {"core", "both"}
    core = found.lesions["core"]
    assert (core.reference_lesions, core.predicted_lesions, core.matched) == (2, 2, 1)
    assert core.f1 == pytest.approx(0.5)
    assert core.mean_lesion_dice == pytest.approx(0.5)


def objects(boxes, *centres):
    """A map that numbers small cubes."""
    array = spots(boxes).array.copy()
    for n, (i, j, k) in enumerate(centres):
        array[i : i + 2, j : j + 2, k : k + 2] = n + 1
    labels = tuple(boxes.labels[0].model_copy(update={"value": n + 1, "name": f"o{n}"})
                   for n in range(len(centres)))  # fmt: skip
    return LabelMap(array, boxes.geometry, labels)


@pytest.mark.parametrize("numbered", [True, False])
def test_objects_are_matched_whether_numbered_or_only_apart(boxes, pair, numbered):
    write_label_map(objects(boxes, (1, 1, 1), (8, 8, 1), (4, 4, 5)), pair.reference)
    there = ((8, 8, 1), (12, 2, 5), (1, 1, 1))
    predicted = objects(boxes, *there) if numbered else spots(boxes, *there)
    write_label_map(predicted, pair.predicted)
    as_objects = Pair(pair.case, pair.reference, pair.predicted, objects_of=1)
    found = score_pair(as_objects, boxes.labels[:1], (), SETTINGS)
    assert (found.objects.tp, found.objects.fp, found.objects.fn) == (2, 1, 1)
    assert found.objects.pq == pytest.approx(2 / 3)
    assert found.scores["core"].dice == pytest.approx(2 / 3)
    alone = Pair(pair.case, pair.reference, None, objects_of=1)
    assert score_pair(alone, boxes.labels[:1], (), SETTINGS).objects.fn == 3


def test_probabilities_are_judged_by_label_and_region(boxes, study, pair):
    reference = boxes.make_map().array
    sure = np.stack([reference == 0, reference == 1, reference == 2]).astype(np.float32)
    path = study / "sure.nii.gz"
    write_volume(Volume(sure, boxes.geometry, ("bg", "core", "rim")), path)
    found = score_pair(pair, boxes.labels, (BOTH,), SETTINGS, path).calibration
    assert set(found) == {"core", "rim", "both"}
    assert found["both"].ece == pytest.approx(0.0)
    assert found["both"].brier == pytest.approx(0.0)
