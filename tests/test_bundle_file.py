"""`bundle.json` in its formats: what older ones have is read, what is not known is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import medseg
from medseg.bundle_file import FORMAT_2, BundleFile

BOX = Path(medseg.__file__).parent / "models/hippocampus-mr/bundle.json"


@pytest.fixture
def content() -> dict[str, Any]:
    return json.loads(BOX.read_text())  # type: ignore[no-any-return]


def test_fields_of_later_formats_have_their_defaults(content: dict[str, Any]) -> None:
    for name in FORMAT_2:
        content.pop(name, None)
    found = BundleFile.model_validate(content | {"format": 1})
    assert (found.temperature, found.postprocessing, found.further) == (1.0, (), ())
    assert found.first_stage is None


def test_a_file_without_a_cascade_says_nothing_of_one(content: dict[str, Any]) -> None:
    found = BundleFile.model_validate(content)
    written = json.loads(found.model_dump_json())
    assert "first_stage" not in written
    assert "mask_augment" not in written["plan"]


def test_a_version_of_the_data_is_written_only_where_there_is_one(content: dict[str, Any]) -> None:
    found = BundleFile.model_validate(content)
    assert "data_version" not in json.loads(found.model_dump_json())["provenance"]
    content["provenance"]["data_version"] = "abc"
    again = BundleFile.model_validate_json(BundleFile.model_validate(content).model_dump_json())
    assert again.provenance.data_version == "abc"


@pytest.mark.parametrize("change", [{"format": 4}, {"second_stage": None}])
def test_what_is_not_known_is_refused(content: dict[str, Any], change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(change))):
        BundleFile.model_validate(content | change)
