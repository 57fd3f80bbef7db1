import math

import pytest

from medseg.errors import EvaluationError
from medseg.report.scores.settings import ScoreSettings, surface_kind


def test_a_structure_may_have_a_tolerance_of_its_own():
    settings = ScoreSettings(tolerance_mm=2.0, tolerances_mm={"vessel": 0.5}, tubes=("vessel",))
    assert [settings.tolerance_of(name) for name in ("vessel", "liver")] == [0.5, 2.0]
    assert settings.named == ("vessel",)


@pytest.mark.parametrize("tolerance", [-1.0, math.nan, math.inf])
def test_a_tolerance_is_a_distance(tolerance):
    with pytest.raises(EvaluationError, match="0 or more"):
        ScoreSettings(tolerance_mm=tolerance)
    with pytest.raises(EvaluationError, match="0 or more"):
        ScoreSettings(tolerances_mm={"liver": tolerance})


def test_there_are_two_surfaces():
    assert surface_kind("borders") == "borders"
    with pytest.raises(EvaluationError, match=r"elements or borders.*'voxels'"):
        ScoreSettings(surface="voxels")
