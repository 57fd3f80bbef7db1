"""What masks hold, in rows."""

from medseg.cli.structure_rows import structure_rows

LABELS = {"labels": [{"value": 1, "name": "rim"}, {"value": 4, "name": "core"}]}


def test_labels_alone():
    assert structure_rows(LABELS) == [("labels", "1 rim, 4 core")]
    assert structure_rows(LABELS | {"regions": [], "ignored_value": None}) == structure_rows(LABELS)


def test_regions_and_ignored_voxels():
    regions = [{"name": "whole", "values": [1, 4]}, {"name": "inner", "values": [4]}]
    rows = structure_rows(LABELS | {"regions": regions, "ignored_value": 9})
    assert rows[1:] == [
        ("regions", "whole = 1, 4; inner = 4"),
        ("ignored", "voxels of value 9"),
    ]
