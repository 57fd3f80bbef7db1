import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import LabelError
from medseg.report.scores.structures import Region, Structures, disjoint, merged, parse_region
from medseg.volume.labels import Label

OEDEMA, CORE, ACTIVE = (Label(value=v, name=n) for v, n in ((2, "oedema"), (1, "core"), (4, "act")))
WHOLE = Region("whole tumour", (1, 2, 4))


def test_labels_come_first_and_regions_get_values_that_no_mask_holds():
    structures = Structures((OEDEMA, CORE), (WHOLE, Region("inner", (1, 4))))
    assert structures.names == ("core", "oedema", "whole tumour", "inner")
    assert structures.values == {1, 2, 4}
    assert [label.value for label in structures.keyed()] == [1, 2, 65535, 65534]
    assert structures.values_of("inner") == (1, 4)


def test_a_region_never_takes_a_value_that_is_in_use():
    structures = Structures((Label(value=65535, name="last"),), (WHOLE,))
    assert structures.keyed()[-1].value == 65534


@pytest.mark.parametrize(
    ("text", "values"),
    [("whole=1,2,4", (1, 2, 4)), ("whole = core, oedema", (1, 2)), ("whole=core,4", (1, 4))],
)
def test_a_region_is_typed_by_values_or_names(text, values):
    assert parse_region(text, (CORE, OEDEMA)) == Region("whole", values)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("whole", "name and the values"),
        ("=1,2", "name and the values"),
        ("whole=1,,2", "name and the values"),
        ("whole=1,nowhere", r"'nowhere'.*labels are core"),
        ("whole=1,1", "different values from 1 to 65535"),
        ("whole=0,1", "different values from 1"),
        ("whole=70000", "different values"),
        ("w" * 65 + "=1", "up to 64 letters"),
    ],
)
def test_what_is_no_region_is_refused(text, match):
    with pytest.raises(LabelError, match=match):
        parse_region(text, (CORE,))


def test_names_are_unique_and_mean_is_taken():
    with pytest.raises(LabelError, match="twice: core"):
        Structures((CORE,), (Region("core", (1, 2)),))
    with pytest.raises(LabelError, match='called "mean"'):
        Structures((), (Region("mean", (1, 2)),))


def test_a_name_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(LabelError, match="'liver'; there are core"):
        Structures((CORE,)).values_of("liver")


@given(st.lists(st.sets(st.integers(1, 6), min_size=1), max_size=5))
def test_groups_hold_every_region_once_and_no_value_twice(sets):
    regions = [Region(str(n), tuple(sorted(values))) for n, values in enumerate(sets)]
    groups = disjoint(regions)
    assert sorted(r.name for group in groups for r in group) == sorted(r.name for r in regions)
    for group in groups:
        values = [value for region in group for value in region.values]
        assert len(values) == len(set(values))


def test_a_merged_map_numbers_the_regions():
    array = np.array([[[0, 1, 2, 3, 4]]], np.uint8)
    together = merged(array, [Region("a", (1, 4)), Region("b", (2, 9))])
    assert together.tolist() == [[[0, 1, 2, 0, 1]]]
