"""Which rule speaks of a series."""

from pathlib import Path

import pytest
from small_service import LABELS, open_tiny_service

from medseg.service.dicom_json import element
from medseg.service.routing import SeriesFacts, facts_of, first_fitting, fits
from medseg.service.settings import Rule

HEAD = SeriesFacts("MR", "HEAD", "Ax T1 MPRAGE +C")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, True),
        ({"modality": "mr"}, True),
        ({"modality": "CT"}, False),
        ({"body_part": "Head"}, True),
        ({"body_part": "BRAIN"}, False),
        ({"description": "t1.*mprage"}, True),
        ({"description": "^mprage"}, False),
        ({"modality": "MR", "body_part": "HEAD", "description": r"\+c$"}, True),
        ({"modality": "MR", "body_part": "CHEST", "description": "T1"}, False),
    ],
)
def test_all_that_a_rule_says_must_fit(wanted: dict[str, str], expected: bool) -> None:
    assert fits(Rule(name="r", model="m", **wanted), HEAD) == expected  # type: ignore[arg-type]


def test_the_first_rule_that_fits_counts() -> None:
    rules = [
        Rule(name="ct", model="a", modality="CT"),
        Rule(name="t1", model="b", description="T1"),
        Rule(name="rest", model="c"),
    ]
    names = [
        None if rule is None else rule.name
        for rule in (
            first_fitting(rules, HEAD),
            first_fitting(rules, SeriesFacts("MR")),
            first_fitting(rules[:2], SeriesFacts("MR")),
        )
    ]
    assert names == ["t1", "rest", None]


def test_facts_are_read_from_a_header_and_may_be_missing() -> None:
    header = {
        **element("Modality", "CT"),
        **element("BodyPartExamined", "ABDOMEN "),
        "0008103E": {"vr": "LO", "Value": [None]},
    }
    assert facts_of(header) == SeriesFacts("CT", "ABDOMEN", "")
    assert facts_of({}) == SeriesFacts()


def test_without_rules_images_of_its_kind_go_to_the_first_model(
    tmp_path: Path, bundle_folder: Path
) -> None:
    service = open_tiny_service(
        tmp_path / "held", bundle_folder,
        destinations=[{"kind": "stow", "name": "pacs", "url": "http://127.0.0.1:1"}],
    )  # fmt: skip
    (rule,) = service.rules
    assert (rule.name, rule.modality, rule.destinations) == ("default", "MR", ("pacs",))
    assert first_fitting(service.rules, HEAD) == rule
    assert first_fitting(service.rules, SeriesFacts("CT")) is None
    assert [label["name"] for label in service.models.get().labels] == [LABELS[0].name]
    service.close()
