"""How a student learns in its time: recipe and augmentation by the steps that there will be."""

import time
from typing import Literal

import torch

from medseg.compression.teacher import Teacher
from medseg.dataset.effort import TRAINING_SHARE, Effort
from medseg.dataset.plan import Plan
from medseg.dataset.recipe import augmentation, recipe
from medseg.dataset.rules import tells_sides_apart
from medseg.training.module import Precision
from medseg.training.probe import Device, take_step


def steps_within(
    seconds: float,
    plan: Plan,
    teacher: Teacher | None,
    *,
    device: Device,
    precision: Precision | Literal["auto"] = "auto",
) -> int:
    """Steps that fit a time: a few are taken, and the teacher looks at a batch.

    Args:
        seconds: Wall time of a training, all included.
        plan: The student's.
        teacher: Whoever teaches; None for nobody.
        device: Where both compute.
        precision: Arithmetic of the student, or "auto".
    """
    step = take_step(plan, device, precision)
    each = step.whole if step else 1.0
    if teacher is not None:
        each += _look_seconds(teacher, plan, device)
    return max(1, int(TRAINING_SHARE * seconds / each))


def paced(plan: Plan, *, steps: int, cases: int) -> Plan:
    """The plan with the recipe and the augmentation that so many steps ask for.

    A teacher's plan may be one of hours, and its student's time minutes.

    Args:
        plan: A student's.
        steps: How many there will be.
        cases: How many cases are learned from.
    """
    batch = plan.recipe.batch_size
    found, _ = recipe(steps, batch)
    varied, _ = augmentation(
        Effort(steps, steps * batch / cases),
        plan.patch_size,
        plan.spacing_mm,
        orientation=plan.orientation,
        sides_differ=tells_sides_apart([label.name for label in plan.labels]),
    )
    return plan.model_copy(update={"recipe": found, "augment": varied})


def _look_seconds(teacher: Teacher, plan: Plan, device: Device) -> float:
    """What the teacher takes for a batch: the second look, when all kernels are loaded."""
    network, batch = plan.network, plan.recipe.batch_size
    image = torch.zeros(batch, network.in_channels, *plan.patch_size[: network.dims], device=device)
    seconds = 0.0
    for _ in range(2):
        begin = time.perf_counter()
        logits, _ = teacher.seen(image, features=False)
        float(logits.sum())
        seconds = time.perf_counter() - begin
    return seconds
