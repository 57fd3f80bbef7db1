import json
import re

import numpy as np
import pytest

from medseg.errors import EvaluationError, MissingPath, UnreadableFile
from medseg.files import sha256
from medseg.report.pages.case_page import write_case_report
from medseg.report.pages.case_record import predicted_cases, read_predicted_case
from medseg.volume.volume import LabelMap

QUALITY = {
    "score": 0.81,
    "expected_dice": {"core": 0.92, "rim": 0.7},
    "flags": [
        {
            "kind": "touches_border",
            "structure": "rim",
            "what": "rim reaches the border of the image and may go on outside.",
        }
    ],
}


@pytest.fixture
def predicted(boxes, tmp_path):
    """A folder as `medseg predict` leaves it: one case with a mask, one that failed."""
    boxes.write_case(tmp_path, "jane", boxes.make_map(), boxes.make_map())
    record = {
        "medseg_version": "0.1.0",
        "bundle": {"name": "boxes", "weights_sha256": "abc"},
        "labels": {"core": 1, "rim": 2},
        "engine": "torch",
        "precision": "fp32",
        "mirrors": False,
        "cases": [
            {
                "case": "jane",
                "status": "done",
                "sources": [str(tmp_path / "imagesTr" / "jane.nii.gz")],
                "file": "jane.nii.gz",
                "volumes_ml": {"core": 0.28, "rim": 0.112},
                "quality": QUALITY,
            },
            {
                "case": "broken",
                "status": "failed",
                "error": {"code": "file-unreadable", "message": "The image is <cut> short."},
            },
        ],
    }
    (tmp_path / "masks" / "predictions.json").write_text(json.dumps(record))
    return tmp_path


@pytest.fixture
def model(predicted):
    folder = predicted / "model"
    folder.mkdir()
    content = {
        "weights_sha256": "abc",
        "metrics": {
            "dice": {"core": 0.9, "rim": 0.5},
            "measured_on": "cases that were held out",
        },
        "volume_ranges_ml": {"core": [0.3, 0.5], "rim": [0.1, 0.2]},
        "provenance": {
            "created": "2026-11-01T00:00:00+00:00",
            "training_cases": ["a", "b"],
            "data_name": "Boxes",
        },
    }
    (folder / "bundle.json").write_text(json.dumps(content))
    return folder


def page_of(predicted, case="jane", **options):
    path = predicted / "page.html"
    return write_case_report(predicted / "masks", case, path, **options).read_text()


def test_a_page_to_file_has_volumes_quality_flags_slices_and_provenance(predicted):
    page = page_of(predicted)
    assert "<h1>jane: 2 of 2 structures found, 1 flag to check</h1>" in page
    assert "core 0.28 ml, rim 0.11 ml." in page
    assert "0.81" in page
    assert "rim reaches the border of the image" in page
    assert page.count('<figure class="panel">') == 4
    assert 'alt="Surfaces of the structures' in page
    assert sha256(predicted / "masks" / "jane.nii.gz") in page
    assert "Not a medical device" in page
    assert "<script" not in page


def test_a_dice_that_was_foretold_is_shown(predicted):
    assert "Foretold Dice" not in page_of(predicted)
    path = predicted / "masks" / "predictions.json"
    record = json.loads(path.read_text())
    record["cases"][0]["quality"]["predicted_dice"] = 0.774
    path.write_text(json.dumps(record))
    page = page_of(predicted)
    assert "Foretold Dice" in page
    assert "0.77" in page


def test_where_nothing_is_known_about_errors_no_interval_is_made_up(predicted):
    page = page_of(predicted)
    assert "nothing is known here about the errors" in page
    assert "if Dice" not in page
    assert "description was not found" in page


def test_the_model_gives_a_range_and_the_usual_volumes(predicted, model):
    page = page_of(predicted, model=model)
    low, high = 0.28 * 0.9 / 1.1, 0.28 / 0.9 * 1.1
    assert f"{low:.2f} to {high:.2f}<small>if Dice 0.900</small>" in page
    assert '<td class="bad">0.30 to 0.50</td>' in page
    assert "2026-11-01, on 2 cases of Boxes" in page


def test_a_model_of_other_weights_is_not_taken_for_it(predicted, model):
    text = (model / "bundle.json").read_text().replace('"abc"', '"other"')
    (model / "bundle.json").write_text(text)
    assert read_predicted_case(predicted / "masks", "jane", model=model).bundle == {}


def test_an_evaluation_gives_an_interval_without_the_case_itself(predicted):
    rows = [
        {"case": f"c{n}", "label": "core", "status": "ok", "reference_ml": r, "predicted_ml": 1.0}
        for n, r in enumerate((0.8, 0.9, 1.0, 1.1, 1.2))
    ]
    rows.append({**rows[0], "case": "jane", "reference_ml": 99.0})
    scores = predicted / "scores.json"
    scores.write_text(json.dumps({"cases": rows}))
    page = page_of(predicted, evaluation=scores)
    assert f"{0.8 * 0.28:.2f} to {1.2 * 0.28:.2f}<small>67 %</small>" in page
    assert "No interval for rim" in page


def test_a_pseudonym_takes_the_place_of_the_name_and_no_path_is_told(predicted):
    page = page_of(predicted, shown_as="case 17")
    assert "<h1>case 17: " in page
    assert "jane" not in page
    assert str(predicted) not in page


def test_a_case_that_failed_says_why(predicted):
    page = page_of(predicted, "broken")
    assert "broken: no mask was made" in page
    assert "The image is &lt;cut&gt; short." in page
    assert "<h2>Structures</h2>" not in page


def test_without_its_image_the_outlines_are_shown(predicted):
    (predicted / "imagesTr" / "jane.nii.gz").unlink()
    page = page_of(predicted)
    assert "outlines alone are shown" in page
    assert len(re.findall(r'<path d="M', page)) == 8


def test_a_flat_mask_has_slices_and_nothing_in_space(boxes, predicted):
    flat = boxes.geometry.from_spacing((1.0, 1.0, 1.0), (16, 14, 1))
    array = np.zeros((16, 14, 1), np.uint8)
    array[3:8, 3:10] = 1
    mask = LabelMap(array, flat, boxes.labels[:1])
    boxes.write_case(predicted, "jane", mask, mask)
    page = page_of(predicted)
    assert page.count('<figure class="panel">') == 1
    assert "In space" not in page


def test_names_of_cases_are_those_of_the_record(predicted):
    assert predicted_cases(predicted / "masks") == ("jane", "broken")


def test_what_is_no_prediction_is_refused(predicted, tmp_path):
    with pytest.raises(EvaluationError, match="Choose with --case one of jane, broken"):
        page_of(predicted, "john")
    with pytest.raises(MissingPath, match=r"A prediction's folder holds predictions\.json"):
        write_case_report(tmp_path / "imagesTr", "jane", tmp_path / "page.html")
    (predicted / "masks" / "jane.nii.gz").unlink()
    with pytest.raises(MissingPath, match="The mask that a record names lies beside it"):
        page_of(predicted)
    (predicted / "masks" / "predictions.json").write_text('{"cases": [{"status": "done"}]}')
    with pytest.raises(UnreadableFile, match="must be the record of a prediction"):
        page_of(predicted)
