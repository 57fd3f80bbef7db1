import json
import math
import shutil

import numpy as np
import pytest

from medseg.dataset.description import Case, Channel, DatasetDescription, save_description
from medseg.errors import (
    DifferentSpace,
    EvaluationError,
    LabelError,
    MissingPath,
    MissingPredictions,
)
from medseg.metrics.case import score_case
from medseg.report.plots.triptych import draw_case
from medseg.report.scores.score import evaluate, read_pair
from medseg.report.scores.settings import ScoreSettings
from medseg.report.scores.structures import Region
from medseg.volume.dicom import find_series, write_series
from medseg.volume.dicom_seg import write_segmentation
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume


def by_case(evaluation):
    return {case.pair.case: case.scores for case in evaluation.cases}


def test_every_reference_is_scored_and_a_forgotten_one_is_missed(boxes, study):
    evaluation = evaluate(
        study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True
    )
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
    evaluation = evaluate(study / "masks", study / "labelsTr", allow_missing=True)
    assert [label.name for label in evaluation.labels] == ["label_1", "label_2"]
    assert by_case(evaluation)["d_forgotten"][2].status == "missed"


def test_a_structure_absent_from_one_case_is_flagged_there(boxes, study):
    boxes.write_case(study, "e_both_without", boxes.make_map(rim=False), boxes.make_map(rim=False))
    scores = by_case(evaluate(study / "masks", study / "labelsTr", allow_missing=True))[
        "e_both_without"
    ]
    assert (scores[2].status, scores[2].dice) == ("both_empty", 1.0)


def test_names_come_from_the_record_beside_the_masks(study):
    (study / "masks" / "predictions.json").write_text('{"labels": {"core": 1, "rim": 2}}')
    evaluation = evaluate(study / "masks", study / "labelsTr", allow_missing=True)
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
    with pytest.raises(DifferentSpace, match=r"case b_shifted.*3 mm apart.*--resample"):
        evaluate(study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True)


def test_resampled_cases_are_scored_and_named(boxes, study):
    moved = Geometry.from_spacing((1.0, 1.0, 2.0), (16, 14, 8), origin_mm=(1.0, 0.0, 0.0))
    write_label_map(boxes.make_map(geometry=moved), study / "masks" / "b_shifted.nii.gz")
    evaluation = evaluate(
        study / "masks", study / "labelsTr", labels=boxes.labels, only_predicted=True,
        settings=ScoreSettings(resample=True),
    )  # fmt: skip
    assert evaluation.resampled == ("b_shifted",)
    assert by_case(evaluation)["b_shifted"][2].dice == pytest.approx(0.5)
    case = next(case for case in evaluation.cases if case.resampled)
    assert draw_case(case.pair, None, evaluation.labels).image


def test_a_missing_prediction_is_refused_unless_something_is_said(study):
    with pytest.raises(MissingPredictions, match=r"1 of 4 cases \(d_forgotten\)"):
        evaluate(study / "masks", study / "labelsTr")


def test_regions_come_last_and_have_values_of_their_own(boxes, study):
    evaluation = evaluate(
        study / "masks", study / "labelsTr", allow_missing=True, regions=[Region("all", (1, 2))]
    )
    assert [(x.value, x.name) for x in evaluation.labels] == [
        (1, "label_1"), (2, "label_2"), (65535, "all"),
    ]  # fmt: skip
    assert by_case(evaluation)["c_no_rim"][65535].status == "ok"
    assert evaluation.by_label["all"].missed == 1
    assert evaluation.structures.regions == (Region("all", (1, 2)),)
    assert draw_case(evaluation.cases[0].pair, None, evaluation.labels).reference


def test_a_file_of_regions_is_scored_by_them_alone(study):
    evaluation = evaluate(
        study / "masks", study / "labelsTr", labels=(), regions=[Region("all", (1, 2))],
        only_predicted=True,
    )  # fmt: skip
    assert list(evaluation.by_label) == ["all"]
    assert draw_case(evaluation.cases[0].pair, None, evaluation.labels).image


@pytest.mark.parametrize("labels", ["given", "found"])
def test_a_setting_for_what_is_not_there_is_refused(boxes, study, labels):
    known = boxes.labels if labels == "given" else None
    for settings in (
        ScoreSettings(tubes=("vessel",)),
        ScoreSettings(lesions=("vessel",)),
        ScoreSettings(tolerances_mm={"vessel": 1.0}),
    ):
        with pytest.raises(LabelError, match=r"'vessel'; there are (core, rim|label_1, label_2)"):
            evaluate(
                study / "masks", study / "labelsTr", labels=known, only_predicted=True,
                settings=settings,
            )  # fmt: skip


def test_masks_that_number_objects_have_one_label(boxes, study):
    evaluation = evaluate(
        study / "masks", study / "labelsTr", allow_missing=True,
        settings=ScoreSettings(instances=True),
    )  # fmt: skip
    assert [label.name for label in evaluation.labels] == ["object"]
    assert [case.objects.tp for case in evaluation.cases] == [2, 1, 1, 0]
    with pytest.raises(LabelError, match=r"one label.*core, rim.*--instances"):
        evaluate(
            study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True,
            settings=ScoreSettings(instances=True),
        )  # fmt: skip


def test_probabilities_lie_in_a_folder_of_their_own(boxes, study):
    for name in ("a_right", "b_shifted", "c_no_rim"):
        array = boxes.make_map().array
        sure = np.stack([0.8 * (array == 1), 0.6 * (array == 2)]).astype(np.float32)
        volume = Volume(sure, boxes.geometry, ("core", "rim"))
        write_volume(volume, study / "sure" / f"{name}.nii.gz")
    evaluation = evaluate(
        study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True,
        probabilities=study / "sure",
    )  # fmt: skip
    assert [len(case.calibration) for case in evaluation.cases] == [2, 2, 2, 0]
    (study / "sure" / "a_right.nii.gz").unlink()
    with pytest.raises(EvaluationError, match=r"none for 1 of 3 \(a_right\)"):
        evaluate(
            study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True,
            probabilities=study / "sure",
        )  # fmt: skip


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
    assert evaluate(study / "masks", study / "labelsTr", allow_missing=True).pairs.extra == (
        "z_extra",
    )


def test_threads_change_nothing(boxes, study):
    one = evaluate(
        study / "masks", study / "labelsTr", labels=boxes.labels, workers=1, allow_missing=True
    )
    four = evaluate(
        study / "masks", study / "labelsTr", labels=boxes.labels, workers=4, allow_missing=True
    )
    assert one.by_label == four.by_label


def test_nothing_in_common_is_refused(study):
    (study / "other").mkdir()
    shutil.copy(study / "masks" / "a_right.nii.gz", study / "other" / "x.nii.gz")
    with pytest.raises(EvaluationError, match=r"name of its reference.*x in .*a_right, b_shifted"):
        evaluate(study / "other", study / "labelsTr")


def test_two_masks_of_one_name_are_refused(boxes, study):
    write_label_map(boxes.make_map(), study / "masks" / "a_right.nrrd")
    with pytest.raises(EvaluationError, match=r"one mask in a folder.*a_right\.n"):
        evaluate(study / "masks", study / "labelsTr", allow_missing=True)


def test_a_missing_folder_is_refused(study):
    with pytest.raises(MissingPath, match=r"nothing at .*nowhere"):
        evaluate(study / "nowhere", study / "labelsTr")


def test_values_without_a_name_are_refused(boxes, study):
    with pytest.raises(LabelError, match="values 2 in the prediction of case a_right"):
        evaluate(study / "masks", study / "labelsTr", labels=boxes.labels[:1], allow_missing=True)


def test_masks_of_nothing_but_background_are_refused(boxes, tmp_path):
    nothing = LabelMap(np.zeros(boxes.geometry.grid_size, np.uint8), boxes.geometry, boxes.labels)
    boxes.write_case(tmp_path, "a", nothing, nothing)
    with pytest.raises(EvaluationError, match="only background in 1 cases"):
        evaluate(tmp_path / "masks", tmp_path / "labelsTr")


def test_a_structure_called_mean_is_refused(study):
    labels = (Label(value=1, name="mean"), Label(value=2, name="rim"))
    with pytest.raises(LabelError, match='"mean"'):
        evaluate(study / "masks", study / "labelsTr", labels=labels, allow_missing=True)


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


def test_a_data_set_says_by_itself_that_masks_number_objects(boxes, study):
    cases = tuple(
        Case(
            id=name,
            images=(study / "imagesTr" / f"{name}.nii.gz",),
            label=study / "labelsTr" / f"{name}.nii.gz",
        )
        for name in ("a_right", "b_shifted")
    )
    nucleus = Label(value=1, name="nucleus")
    description = DatasetDescription(
        name="cells", channels=(Channel(name="image"),), labels=(nucleus,), cases=cases,
        instances=True,
    )  # fmt: skip
    save_description(description, study / "cells")
    evaluation = evaluate(study / "masks", study / "cells")
    assert evaluation.labels == (nucleus,)
    assert [case.objects.tp for case in evaluation.cases] == [2, 1]
    assert evaluation.by_label["nucleus"].means["dice"].mean == pytest.approx((1 + 0.857143) / 2)
    predicted, reference = read_pair(evaluation.cases[0].pair, evaluation.pairs.dataset, None)
    assert predicted.labels == reference.labels == (nucleus,)


TUMOUR = {"whole": (1, 2, 3), "core": (2, 3), "enhancing": (3,)}


@pytest.fixture
def tumour(tmp_path):
    """A data set of one case with nested regions and ignored voxels (4), and a mask for it."""
    reference = np.zeros((12, 10, 8), np.uint8)
    reference[1:9, 1:9, 1:7], reference[3:7, 3:7, 2:6], reference[4:6, 4:6, 3:5] = 1, 2, 3
    predicted = reference.copy()
    predicted[4:6, 4:6, 3] = 2
    reference[10:] = 4
    predicted[10:] = 1
    geometry = Geometry.from_spacing((1.0, 1.0, 1.0), reference.shape)
    for array, path in ((reference, "labelsTr/p.nii.gz"), (predicted, "masks/p.nii.gz")):
        labels = tuple(Label(value=n, name=f"label_{n}") for n in (1, 2, 3, 4))
        write_label_map(LabelMap(array, geometry, labels), tmp_path / path)
    image = np.zeros((1, *reference.shape), np.float32)
    write_volume(Volume(image, geometry), tmp_path / "imagesTr/p_0000.nii.gz")
    labels = {name: list(v) if len(v) > 1 else v[0] for name, v in TUMOUR.items()}
    table = {
        "channel_names": {"0": "T1"},
        "labels": {"background": 0, **labels, "ignore": 4},
        "regions_class_order": [1, 2, 3],
        "file_ending": ".nii.gz",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(table))
    return tmp_path


def test_a_data_set_of_regions_is_scored_by_regions_where_it_is_judged(tumour):
    evaluation = evaluate(tumour / "masks", tumour)
    assert [label.name for label in evaluation.labels] == list(TUMOUR)
    dice = [evaluation.by_label[name].means["dice"].mean for name in TUMOUR]
    assert dice == [1.0, 1.0, pytest.approx(2 * 4 / (4 + 8))]


def test_what_stands_beside_predictions_says_what_is_scored(tumour):
    record = {"labels": {"a": 1, "b": 2, "c": 3}, "regions": TUMOUR, "ignored_value": 4}
    (tumour / "masks" / "predictions.json").write_text(json.dumps(record))
    beside = evaluate(tumour / "masks", tumour / "labelsTr")
    assert list(beside.by_label) == list(TUMOUR)
    assert beside.overall.means["dice"] == evaluate(tumour / "masks", tumour).overall.means["dice"]


def test_labels_that_are_asked_for_are_scored_also_of_regions(tumour):
    asked = (Label(value=1, name="rim"), Label(value=2, name="b"), Label(value=3, name="c"))
    evaluation = evaluate(tumour / "masks", tumour, labels=asked)
    assert list(evaluation.by_label) == ["rim", "b", "c"]
    assert evaluation.by_label["rim"].means["dice"].mean == 1.0


def test_a_prediction_in_a_value_that_is_ignored_is_background(tumour):
    mask = LabelMap(
        np.full((12, 10, 8), 4, np.uint8),
        Geometry.from_spacing((1.0, 1.0, 1.0), (12, 10, 8)),
        (Label(value=4, name="label_4"),),
    )
    write_label_map(mask, tumour / "masks" / "p.nii.gz")
    assert evaluate(tumour / "masks", tumour).by_label["whole"].means["dice"].mean == 0.0
