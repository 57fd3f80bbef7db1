"""Lessons beside the labels."""

import pytest
import torch

from medseg.errors import TrainingError
from medseg.training.configs import require_teachable
from medseg.training.guide import Lesson, without_lesson
from medseg.training.run import RunSettings


def test_a_plain_lesson_adds_nothing():
    logits = torch.randn(1, 2, 3, 3)
    assert float(Lesson()(torch.zeros(1, 1, 3, 3), logits, torch.zeros(1, 3, 3))) == 0


def test_weights_of_a_lesson_are_told_by_their_name():
    assert not without_lesson("lesson.projection.weight")
    assert without_lesson("lessons.weight")
    assert without_lesson("encoder.0.weight")


@pytest.mark.parametrize(
    "more", [{"devices": 2}, {"folds": (0, 1)}, {"compare": ("2d", "3d_full")}]
)
def test_a_teacher_sits_beside_one_network_in_one_process(more):
    with pytest.raises(TrainingError, match="teaches one network in one process"):
        require_teachable(RunSettings(epochs=1, **more))
    require_teachable(RunSettings(epochs=1))
