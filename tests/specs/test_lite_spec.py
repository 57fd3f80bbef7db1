import pytest
from pydantic import ValidationError

from medseg.specs import LiteSpec

SMALL = {
    "dims": 2, "in_channels": 1, "classes": 2, "features": (2, 4, 8),
    "strides": ((1, 1), (2, 2), (2, 1)), "kernels": ((3, 3), (3, 1)), "encoder_convs": (2, 1),
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kernels": ((3, 3),) * 3}, "kernels has one entry for each stage but the first"),
        ({"encoder_convs": (2,)}, "encoder_convs has one entry for each stage but the first"),
        ({"kernels": ((3, 3), (3, 3, 3))}, "kernels have one number for each spatial axis"),
        ({"kernels": ((3, 3), (3, 2))}, "kernels are odd"),
        ({"encoder_convs": (2, 0)}, "every encoder stage has a convolution"),
        ({"strides": ((2, 2), (2, 2), (2, 2))}, "first stage keeps the resolution"),
    ],
)
def test_stages_fit_together(changes, sentence):
    with pytest.raises(ValidationError, match=sentence):
        LiteSpec(**(SMALL | changes))


def test_steps_may_differ_between_axes():
    assert LiteSpec(**SMALL).divisor == (4, 2)
