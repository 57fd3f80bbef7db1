"""Students in words, and as networks in the shape of a teacher."""

import pytest
from exports import make_plan

from medseg.compression.students import Student, student_of, student_plan
from medseg.dataset.cost import parameter_count
from medseg.errors import PlanError


def test_words_are_a_kind_and_a_share():
    assert student_of("lite") == Student("lite", 1.0)
    assert student_of("plain_unet@0.5") == Student("plain_unet", 0.5)
    assert student_of(" plain_unet@.25") == Student("plain_unet", 0.25)


@pytest.mark.parametrize("words", ["plain_unet@", "plain_unet@0", "plain_unet@1.5", "a b", ""])
def test_other_words_are_refused(words):
    with pytest.raises(PlanError, match="A student is a kind of network"):
        student_of(words)


def test_unknown_kinds_are_refused():
    with pytest.raises(PlanError, match="Networks are plain_unet"):
        student_of("vgg@0.5")


def test_half_as_wide_has_half_the_features_and_the_rest_of_the_plan():
    teacher = make_plan()
    plan = student_plan(teacher, Student("plain_unet", 0.5))
    assert plan.network.features == (4, 6)
    assert plan.network.strides == teacher.network.strides
    kept = {"network", "reasons"}
    assert plan.model_dump(exclude=kept) == teacher.model_dump(exclude=kept)
    assert parameter_count(plan.network) < parameter_count(teacher.network) / 3
    assert student_plan(teacher, Student("plain_unet")).network == teacher.network


@pytest.mark.parametrize("dims", [2, 3])
def test_lite_takes_the_teachers_patch(dims):
    plan = student_plan(make_plan(dims), Student("lite"))
    assert (plan.network.kind, plan.network.dims) == ("lite", dims)
    assert plan.patch_size == make_plan(dims).patch_size


def test_a_student_that_does_not_take_the_patch_is_refused():
    odd = make_plan().model_copy(update={"patch_size": (18, 16, 8)})
    with pytest.raises(PlanError, match="takes the patch of its teacher"):
        student_plan(odd, Student("unetr", 0.5))
