import json

import pytest

from medseg.errors import EvaluationError, LabelError, MissingPath, UnreadableFile
from medseg.report.scores.names import read_labels, read_record, read_structures, read_tolerances
from medseg.report.scores.structures import Region


@pytest.mark.parametrize(
    "content",
    [
        {"Anterior": 1, "Posterior": 2},
        {"labels": {"background": 0, "Anterior": 1, "Posterior": 2}},
        {"labels": {"0": "background", "1": "Anterior", "2": "Posterior"}, "name": "MSD"},
        {"labels": [{"value": 1, "name": "Anterior"}, {"value": 2, "name": "Posterior"}]},
        {"plan": {"labels": [{"value": 2, "name": "Posterior"}, {"value": 1, "name": "Anterior"}]}},
    ],
)
def test_names_are_read_from_any_usual_form(tmp_path, content):
    path = tmp_path / "names.json"
    path.write_text(json.dumps(content))
    assert [(x.value, x.name) for x in read_labels(path)] == [(1, "Anterior"), (2, "Posterior")]


def test_a_folder_stands_for_its_description(tmp_path):
    (tmp_path / "dataset.json").write_text('{"labels": {"0": "background", "1": "nucleus"}}')
    assert read_labels(tmp_path)[0].name == "nucleus"


@pytest.mark.parametrize(
    ("content", "error", "match"),
    [
        ("{", UnreadableFile, "JSON file"),
        ("[]", LabelError, "at least one structure"),
        ('{"liver": 1.5}', LabelError, "whole number.*1.5"),
        ('{"liver": true}', LabelError, "whole number"),
        ('{"liver": 1, "spleen": 1}', LabelError, "unique.*twice: 1"),
        ('{"liver": 70000}', LabelError, "up to 65535"),
        ('{"whole": [1, "2"]}', LabelError, "whole numbers.*'2'"),
        ('{"whole": [1, 1]}', LabelError, "different values"),
        ('{"whole": []}', LabelError, "whole number"),
        ('{"labels": {"background": 0}}', LabelError, "at least one structure"),
    ],
)
def test_what_names_no_labels_is_refused(tmp_path, content, error, match):
    path = tmp_path / "names.json"
    path.write_text(content)
    with pytest.raises(error, match=match):
        read_labels(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(MissingPath, match=r"nothing at .*no\.json"):
        read_labels(tmp_path / "no.json")


def test_a_broken_record_is_no_record(tmp_path):
    assert read_record(tmp_path) == {}
    (tmp_path / "predictions.json").write_text("[1,")
    assert read_record(tmp_path) == {}


@pytest.mark.parametrize(
    "content",
    [
        {"oedema": 2, "whole tumour": [1, 2, 4], "core": [1, 4]},
        {"labels": {"background": 0, "oedema": 2, "whole tumour": [1, 2, 4], "core": [1, 4]}},
    ],
)
def test_a_list_of_values_is_a_region(tmp_path, content):
    path = tmp_path / "names.json"
    path.write_text(json.dumps(content))
    structures = read_structures(path)
    assert [label.name for label in structures.labels] == ["oedema"]
    assert structures.regions == (Region("whole tumour", (1, 2, 4)), Region("core", (1, 4)))
    assert [label.name for label in read_labels(path)] == ["oedema"]


def test_regions_alone_are_enough(tmp_path):
    path = tmp_path / "names.json"
    path.write_text('{"whole": [1, 2]}')
    assert read_structures(path).names == ("whole",)


def test_tolerances_are_read_by_name(tmp_path):
    path = tmp_path / "mm.json"
    path.write_text('{"liver": 3, "vessel": 0.5}')
    assert read_tolerances(path) == {"liver": 3.0, "vessel": 0.5}


@pytest.mark.parametrize("text", ["[]", "{}", '{"liver": "3"}', '{"liver": true}', "3"])
def test_what_are_no_tolerances_is_refused(tmp_path, text):
    path = tmp_path / "mm.json"
    path.write_text(text)
    with pytest.raises(EvaluationError, match=r"a distance in millimetres.*mm\.json"):
        read_tolerances(path)


FOUND = {"labels": {"a": 1, "b": 2}, "regions": {"whole": [1, 2], "core": [2]}, "ignored_value": 3}


@pytest.mark.parametrize(
    "content",
    [
        FOUND,
        {"plan": FOUND},
        FOUND | {"regions": [{"name": "whole", "values": [1, 2], "painted": 1},
                             {"name": "core", "values": [2], "painted": 2}]},
    ],
)  # fmt: skip
def test_regions_that_networks_find_are_all_that_is_scored(tmp_path, content):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(content))
    structures = read_structures(path)
    assert structures.labels == ()
    assert structures.regions == (Region("whole", (1, 2)), Region("core", (2,)))
    assert structures.ignored_value == 3
    assert [label.name for label in read_labels(path)] == ["a", "b"]


def test_ignored_voxels_are_no_label(tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"labels": {"background": 0, "a": 1, "ignore": 2}}))
    assert read_structures(path).names == ("a",)
    assert read_structures(path).ignored_value == 2
