import json
import math
import shutil

import numpy as np
import pytest

from medseg.errors import DifferentSpace, EvaluationError, LabelError, MissingPath
from medseg.metrics.case import score_case
from medseg.report.score import evaluate
from medseg.report.triptych import draw_case
from medseg.volume.dicom import find_series, write_series
from medseg.volume.dicom_seg import write_segmentation
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume


def by_case(evaluation):
    return {case.pair.case: case.scores for case in evaluation.cases}


def test_every_reference_is_scored_and_a_forgotten_one_is_missed(boxes, study):
    evaluation = evaluate(study / "masks", study / "labelsTr", labels=boxes.labels)
    scores = by_case(evaluation)
    assert scores["a_right"][1].dice == 1.0
    assert scores["b_shifted"][2].dice == pytest.approx(0.5)
    assert scores["c_no_rim"][2].status == "missed"
    assert [scores["d_forgotten"][v].status for v in (1, 2)] == ["missed", "missed"]
    assert [scores["d_forgotten"][v].dice for v in (1, 2)] == [0.0, 0.0]
    assert scores["d_forgotten"][1].hd == math.inf
    assert evaluation.missing == ("d_forgotten",)
    assert evaluation.by_label["rim"].missed == 2
    assert evaluation.by_label["rim"].means["dice"].mean == pytest.approx((1 + 0.5 + 0 + 0) / 4)
    assert evaluation.by_label["rim"].means["hd"].n == 2


def test_only_predicted_leaves_the_forgotten_case_out(boxes, study):
    evaluation = evaluate(
        study / "masks", study / "labelsTr", labels=boxes.labels, only_predicted=True
    )
    assert "d_forgotten" not in by_case(evaluation)
    assert evaluation.missing == ()
    assert evaluation.pairs.missing == ("d_forgotten",)


def test_masks_without_names_are_named_by_their_values(study):
    evaluation = evaluate(study / "masks", study / "labelsTr")
    assert [label.name for label in evaluation.labels] == ["label_1", "label_2"]
    assert by_case(evaluation)["d_forgotten"][2].status == "missed"


def test_a_structure_absent_from_one_case_is_flagged_there(boxes, study):
    boxes.write_case(study, "e_both_without", boxes.make_map(rim=False), boxes.make_map(rim=False))
    scores = by_case(evaluate(study / "masks", study / "labelsTr"))["e_both_without"]
    assert (scores[2].status, scores[2].dice) == ("both_empty", 1.0)


def test_names_come_from_the_record_beside_the_masks(study):
    (study / "masks" / "predictions.json").write_text('{"labels": {"core": 1, "rim": 2}}')
    evaluation = evaluate(study / "masks", study / "labelsTr")
    assert [label.name for label in evaluation.labels] == ["core", "rim"]


def test_other_axes_are_turned_and_not_resampled(boxes, study):
    for name in ("a_right", "b_shifted", "c_no_rim"):
        shutil.move(study / "masks" / f"{name}.nii.gz", study / f"{name}.nii.gz")
    write_label_map(boxes.make_map(1).reoriented("PSL"), study / "masks" / "b_shifted.nii.gz")
    turned = evaluate(study / "masks", study / "labelsTr", labels=boxes.labels, only_predicted=True)
    straight = evaluate(study / "b_shifted.nii.gz", study / "labelsTr" / "b_shifted.nii.gz")
    expected = list(straight.cases[0].scores.values())
    assert list(turned.cases[0].scores.values()) == expected


def test_another_grid_is_refused_with_the_way_out(boxes, study):
    moved = Geometry.from_spacing((1.0, 1.0, 2.0), (16, 14, 8), origin_mm=(3.0, 0.0, 0.0))
    write_label_map(boxes.make_map(geometry=moved), study / "masks" / "b_shifted.nii.gz")
    with pytest.raises(
        DifferentSpace, match=r"case b_shifted.*3 mm apart.*medseg convert .*b_shif"
    ):
        evaluate(study / "masks", study / "labelsTr", labels=boxes.labels)


def test_two_single_files_need_no_common_name(boxes, study):
    evaluation = evaluate(
        study / "masks" / "b_shifted.nii.gz",
        study / "labelsTr" / "a_right.nii.gz",
        labels=boxes.labels,
    )
    assert len(evaluation.cases) == 1
    assert evaluation.by_label["core"].means["dice"].ci_low is None


def test_predictions_without_a_reference_are_told(boxes, study):
    write_label_map(boxes.make_map(), study / "masks" / "z_extra.nii.gz")
    assert evaluate(study / "masks", study / "labelsTr").pairs.extra == ("z_extra",)


def test_threads_change_nothing(boxes, study):
    one = evaluate(study / "masks", study / "labelsTr", labels=boxes.labels, workers=1)
    four = evaluate(study / "masks", study / "labelsTr", labels=boxes.labels, workers=4)
    assert one.by_label == four.by_label


def test_nothing_in_common_is_refused(study):
    (study / "other").mkdir()
    shutil.copy(study / "masks" / "a_right.nii.gz", study / "other" / "x.nii.gz")
    with pytest.raises(EvaluationError, match=r"name of its reference.*x in .*a_right, b_shifted"):
        evaluate(study / "other", study / "labelsTr")


def test_two_masks_of_one_name_are_refused(boxes, study):
    write_label_map(boxes.make_map(), study / "masks" / "a_right.nrrd")
    with pytest.raises(EvaluationError, match=r"one mask in a folder.*a_right\.n"):
        evaluate(study / "masks", study / "labelsTr")


def test_a_missing_folder_is_refused(study):
    with pytest.raises(MissingPath, match=r"nothing at .*nowhere"):
        evaluate(study / "nowhere", study / "labelsTr")


def test_values_without_a_name_are_refused(boxes, study):
    with pytest.raises(LabelError, match="values 2 in case a_right"):
        evaluate(study / "masks", study / "labelsTr", labels=boxes.labels[:1])


def test_masks_of_nothing_but_background_are_refused(boxes, tmp_path):
    nothing = LabelMap(np.zeros(boxes.geometry.grid_size, np.uint8), boxes.geometry, boxes.labels)
    boxes.write_case(tmp_path, "a", nothing, nothing)
    with pytest.raises(EvaluationError, match="only background in 1 cases"):
        evaluate(tmp_path / "masks", tmp_path / "labelsTr")


def test_a_structure_called_mean_is_refused(study):
    labels = (Label(value=1, name="mean"), Label(value=2, name="rim"))
    with pytest.raises(LabelError, match='"mean"'):
        evaluate(study / "masks", study / "labelsTr", labels=labels)


def test_a_dicom_segmentation_is_scored_and_its_series_is_the_picture(boxes, tmp_path):
    geometry, reference = boxes.geometry, boxes.make_map()
    noise = np.random.default_rng(0).normal(100, 9, (1, *geometry.grid_size))
    write_series(
        Volume(noise.astype(np.float32), geometry),
        tmp_path / "series",
        patient_name="Test^Case",
        patient_id="1",
    )
    series = find_series(tmp_path / "series")[0]
    renamed = tuple(x.model_copy(update={"value": 9 - x.value}) for x in boxes.labels)
    array = np.where(boxes.make_map(1).array > 0, 9 - boxes.make_map(1).array, 0)
    write_segmentation(
        LabelMap(array, geometry, renamed),
        series,
        tmp_path / "masks" / "x.dcm",
        algorithm="test",
        version="1",
    )
    write_label_map(reference, tmp_path / "labels" / "x.nii.gz")
    record = {
        "labels": {"core": 1, "rim": 2},
        "cases": [{"case": "x", "sources": [str(tmp_path / "series")]}],
    }
    (tmp_path / "masks" / "predictions.json").write_text(json.dumps(record))
    evaluation = evaluate(tmp_path / "masks", tmp_path / "labels")
    scores = score_case(
        boxes.make_map(1).array, reference.array, values=[1, 2], spacing_mm=geometry.spacing_mm
    )
    assert evaluation.cases[0].scores == scores
    assert draw_case(evaluation.cases[0].pair, None, evaluation.labels).image


@pytest.mark.data
def test_references_may_be_a_whole_data_set(data_root, tmp_path):
    reference = data_root / "Task04_Hippocampus" / "labelsTr" / "hippocampus_001.nii.gz"
    shutil.copy(reference, tmp_path / reference.name)
    evaluation = evaluate(tmp_path, data_root / "Task04_Hippocampus", only_predicted=True)
    assert [label.name for label in evaluation.labels] == ["Anterior", "Posterior"]
    assert evaluation.overall.means["dice"].mean == 1.0
    assert evaluation.cases[0].pair.entry.images[0].name == reference.name
