import xml.etree.ElementTree as ET

import numpy as np
import pytest

from medseg.report.plots.volume_plots import (
    agreements_of,
    bland_altman,
    dice_against_volume,
    limits_of_agreement,
)
from medseg.report.scores.score import evaluate
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap


@pytest.fixture
def evaluation(boxes, study):
    return evaluate(study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True)


def test_dice_against_volume_leaves_out_what_the_reference_does_not_hold(evaluation):
    svg = dice_against_volume(evaluation)
    ET.fromstring(svg)
    assert svg.count("d_forgotten") == 1
    assert svg.count("<title>") == 7


def test_limits_of_agreement_by_hand():
    limits = limits_of_agreement(np.array([-1.0, 0.0, 1.0, 2.0, 3.0]))
    assert limits.bias == 1.0
    assert limits.high == pytest.approx(1.0 + 1.96 * np.sqrt(2.5))
    assert limits.low == pytest.approx(1.0 - 1.96 * np.sqrt(2.5))


def test_four_cases_have_a_bias_and_no_limits():
    assert limits_of_agreement(np.array([1.0, 1.0, 2.0, 2.0])).low is None


def test_a_missed_structure_is_a_disagreement_of_its_whole_volume(evaluation):
    rim = agreements_of(evaluation)[1]
    at = rim.cases.index("c_no_rim")
    assert rim.difference_ml[at] == -rim.reference_ml[at]
    assert rim.difference_percent[at] == pytest.approx(-200.0)
    assert "d_forgotten" not in rim.cases


def test_agreement_names_each_case_and_draws_the_bias(evaluation):
    svg = bland_altman(evaluation)
    ET.fromstring(svg)
    assert svg.count("c_no_rim: ") == 2
    assert ">bias " in svg


def test_many_structures_are_rows_in_percent(boxes, tmp_path):
    labels = tuple(Label(value=n, name=f"part {n}") for n in range(1, 6))
    array = np.zeros(boxes.geometry.grid_size, np.uint8)
    array[2:12, 3:10, 2:6] = 1 + np.arange(10)[:, None, None] // 2
    for name, shift in (("a", 0), ("b", 1)):
        moved = LabelMap(np.roll(array, shift, axis=0), boxes.geometry, labels)
        boxes.write_case(tmp_path, name, moved, LabelMap(array, boxes.geometry, labels))
    svg = bland_altman(evaluate(tmp_path / "masks", tmp_path / "labelsTr", labels=labels))
    assert "% of the mean of both" in svg
    assert "part 5" in svg
