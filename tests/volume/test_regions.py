"""Unions of label values and the order in which they are painted."""

import pytest
from pydantic import ValidationError

from medseg.errors import LabelError
from medseg.volume.labels import Label
from medseg.volume.regions import (
    PaintedRegion,
    classes_of,
    judged,
    painted_classes,
    require_regions,
    with_ignored,
)

LABELS = tuple(Label(value=v, name=f"label_{v}") for v in (1, 2, 4))
WHOLE = PaintedRegion(name="whole tumour", values=(1, 2, 4), painted=1)
CORE = PaintedRegion(name="core", values=(2, 4), painted=2)
ENHANCING = PaintedRegion(name="enhancing", values=(4,), painted=4)
TUMOUR = (WHOLE, CORE, ENHANCING)


def test_regions_are_unions_of_classes():
    require_regions(TUMOUR, LABELS)
    assert classes_of(TUMOUR, LABELS) == ((1, 2, 3), (2, 3), (3,))
    assert painted_classes(TUMOUR, LABELS) == (1, 2, 3)


def test_masks_are_judged_by_regions_or_else_by_labels():
    assert judged(LABELS, TUMOUR) == {
        "whole tumour": (1, 2, 4), "core": (2, 4), "enhancing": (4,),
    }  # fmt: skip
    assert judged(LABELS, ()) == {"label_1": (1,), "label_2": (2,), "label_4": (4,)}


@pytest.mark.parametrize(
    "order", [(CORE, WHOLE, ENHANCING), (WHOLE, ENHANCING, CORE), (ENHANCING, CORE, WHOLE)]
)
def test_an_order_that_hides_a_region_is_refused(order):
    with pytest.raises(LabelError, match=r"inner ones over the outer.*regions_class_order"):
        require_regions(order, LABELS)


def test_a_wrong_value_of_painting_is_refused():
    wrong = WHOLE.model_copy(update={"painted": 4})
    with pytest.raises(LabelError, match=r"value 1, a part of whole tumour, painted as 4"):
        require_regions((wrong, CORE, ENHANCING), LABELS)


def test_values_that_are_always_together_may_be_painted_as_one():
    require_regions((PaintedRegion(name="all", values=(1, 2, 4), painted=2),), LABELS)


def test_a_label_of_no_region_stays_background():
    require_regions((ENHANCING,), LABELS)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (PaintedRegion(name="x", values=(1, 3), painted=1), "different values of the labels"),
        (PaintedRegion(name="x", values=(1, 1), painted=1), "different values"),
        (PaintedRegion(name="x", values=(1, 2), painted=9), "painted as 9"),
    ],
)
def test_unknown_values_are_refused(region, message):
    with pytest.raises(LabelError, match=message):
        require_regions((region,), LABELS)


def test_names_are_unique():
    twin = PaintedRegion(name="core", values=(1, 2, 4), painted=1)
    with pytest.raises(LabelError, match="names of their own"):
        require_regions((twin, CORE), LABELS)


def test_a_region_is_not_empty():
    with pytest.raises(ValidationError, match="at least 1 item"):
        PaintedRegion(name="nothing", values=(), painted=1)


def test_ignored_voxels_have_a_label_of_their_own():
    assert with_ignored(LABELS, None) == LABELS
    assert [(x.value, x.name) for x in with_ignored(LABELS, 3)][2] == (3, "ignore")


@pytest.mark.parametrize(("labels", "value"), [(LABELS, 4), ((Label(value=1, name="ignore"),), 2)])
def test_ignored_voxels_are_no_structure(labels, value):
    with pytest.raises(LabelError, match="that of no structure"):
        with_ignored(labels, value)
