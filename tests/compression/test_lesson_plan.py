"""A student's plan for its own time."""

from exports import make_bundle, make_plan

from medseg.compression.imitation import ImitationSpec
from medseg.compression.lesson_plan import paced, steps_within
from medseg.compression.teacher import Teacher


def test_few_steps_are_averaged_over_few():
    plan = make_plan()
    short, long = (paced(plan, steps=steps, cases=10) for steps in (100, 10_000))
    assert short.recipe.ema_decay == 0.98 < long.recipe.ema_decay
    assert short.augment.elastic_shift_mm < long.augment.elastic_shift_mm or (
        short.augment != long.augment
    )
    assert short.recipe.batch_size == plan.recipe.batch_size
    kept = {"recipe", "augment"}
    assert short.model_dump(exclude=kept) == plan.model_dump(exclude=kept)


def test_a_teacher_takes_its_part_of_the_time():
    plan = make_plan()
    members = make_bundle().members * 40
    crowd = Teacher(make_bundle().__class__(plan, make_bundle().provenance, members),
                    ImitationSpec(), device="cpu")  # fmt: skip
    alone = steps_within(10.0, plan, None, device="cpu", precision="fp32")
    taught = steps_within(10.0, plan, crowd, device="cpu", precision="fp32")
    assert 0 < taught < alone
    assert steps_within(1e-9, plan, None, device="cpu", precision="fp32") == 1
