import pytest
from pydantic import ValidationError

from medseg.specs import MedNeXtSpec


def test_a_thin_axis_of_mednext_is_halved_less_often():
    spec = MedNeXtSpec.scaled(dims=3, grid=(20, 256, 256), in_channels=1, classes=2)
    assert spec.divisor == (4, 16, 16)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kernel": 4}, "kernel is odd"),
        ({"blocks": (2, 2)}, "one entry for each of the stages"),
        ({"strides": ((2, 2, 3),) * 4}, "a 1 or a 2 for each spatial axis"),
        ({"blocks": (0,) * 9}, "are positive"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, sentence):
    with pytest.raises(ValidationError, match=sentence):
        MedNeXtSpec(**(MedNeXtSpec.paper().model_dump() | changes))


def test_a_kernel_of_five_is_a_setting_of_the_paper():
    assert MedNeXtSpec.paper("L", kernel=5).kernel == 5
