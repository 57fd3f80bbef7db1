import pytest
from pydantic import ValidationError

from medseg.errors import LabelError
from medseg.volume.labels import PALETTE, Label, colour_of, make_labels


def test_labels_are_ordered_by_value():
    labels = make_labels([Label(value=5, name="b"), Label(value=2, name="a")])
    assert [label.value for label in labels] == [2, 5]


@pytest.mark.parametrize(("values", "names"), [((1, 1), "ab"), ((1, 2), "aa")])
def test_values_and_names_are_unique(values, names):
    with pytest.raises(LabelError, match="twice: "):
        make_labels(Label(value=v, name=n) for v, n in zip(values, names, strict=True))


@pytest.mark.parametrize(
    "wrong",
    [{"value": 0}, {"value": 65536}, {"name": ""}, {"name": "x" * 65}, {"colour": "red"}, {"a": 1}],
)
def test_a_label_that_no_file_can_hold_is_refused(wrong):
    with pytest.raises(ValidationError, match="validation error"):
        Label(**{"value": 1, "name": "a", **wrong})


def test_colours_are_own_or_by_position():
    labels = make_labels([Label(value=1, name="a"), Label(value=2, name="b", colour="#102030")])
    assert colour_of(labels, labels[0]) == PALETTE[0]
    assert colour_of(labels, labels[1]) == "#102030"
