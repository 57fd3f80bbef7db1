import json

import pytest

from medseg.errors import EvaluationError, MissingPath, MissingPredictions
from medseg.report.scores.pairs import files_for, find_pairs


def test_files_are_paired_by_their_stem(study):
    pairs = find_pairs(study / "masks", study / "labelsTr")
    assert [pair.case for pair in pairs.all] == ["a_right", "b_shifted", "c_no_rim", "d_forgotten"]
    assert pairs.missing == ("d_forgotten",)
    assert pairs.all[0].image == study / "imagesTr" / "a_right.nii.gz"


def test_attention_maps_that_the_record_lists_are_no_masks(study):
    name = "a_right_attention_stage2_gate1.nii.gz"
    (study / "masks" / name).write_bytes(b"")
    assert name[:-7] in find_pairs(study / "masks", study / "labelsTr").extra
    record = {"cases": [{"case": "a_right", "attention": [name]}]}
    (study / "masks" / "predictions.json").write_text(json.dumps(record))
    assert name[:-7] not in find_pairs(study / "masks", study / "labelsTr").extra


def test_a_missing_prediction_is_refused_with_both_ways_out(study):
    with pytest.raises(MissingPredictions) as refusal:
        find_pairs(study / "masks", study / "labelsTr").require_all()
    assert refusal.value.code == "evaluation-missing"
    assert str(refusal.value) == (
        "Every reference has a prediction of its name. Received: none for 1 of 4 cases "
        "(d_forgotten). Predict them, or pass --allow-missing to count every structure there as "
        "missed, or --only-predicted to leave these cases out."
    )


def test_the_first_of_many_missing_ones_are_listed(boxes, study):
    for name in "efghij":
        boxes.write_case(study, name, None, boxes.make_map())
    with pytest.raises(MissingPredictions, match=r"7 of 10 cases \(d_.*, e, f, g, h and 2 more\)"):
        find_pairs(study / "masks", study / "labelsTr").require_all()


def test_pairs_may_be_read_in_another_way(study):
    pairs = find_pairs(study / "masks", study / "labelsTr")
    read = pairs.read_as(resample=True, objects_of=3)
    assert {(pair.resample, pair.objects_of) for pair in read.all} == {(True, 3)}
    assert [pair.predicted for pair in read.all] == [pair.predicted for pair in pairs.all]


def test_further_files_are_there_for_all_that_was_predicted(study):
    pairs = find_pairs(study / "masks", study / "labelsTr").all
    found = files_for(pairs, study / "imagesTr", what="Images")
    assert sorted(found) == ["a_right", "b_shifted", "c_no_rim"]
    (study / "imagesTr" / "b_shifted.nii.gz").unlink()
    with pytest.raises(EvaluationError, match=r"Images are there.*none for 1 of 3 \(b_shifted\)"):
        files_for(pairs, study / "imagesTr", what="Images")
    with pytest.raises(MissingPath, match=r"nothing at .*nowhere"):
        files_for(pairs, study / "nowhere", what="Images")
