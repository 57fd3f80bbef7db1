"""What is noted of a case, and that no case is looked at twice."""

import numpy as np
import pytest
from watching import LABELS, small_bundle, volume_of, write_cases

from medseg.continual.drift_observation import (
    DICE,
    Observation,
    ObservationLog,
    Observer,
    Unobserved,
    mean_dice,
    observe_all,
)
from medseg.errors import DifferentSpace
from medseg.inference.inputs import CaseInput
from medseg.volume.geometry import Geometry
from medseg.volume.volume import LabelMap


@pytest.fixture(scope="module")
def observer(tmp_path_factory):
    return Observer(small_bundle(tmp_path_factory.mktemp("b") / "bundle"))


def mask(values, size=(4, 4, 2)):
    array = np.zeros(size, np.uint8)
    array.ravel()[: len(values)] = values
    return LabelMap(array, Geometry.from_spacing((1.0, 1.0, 1.0), size), LABELS)


def test_mean_dice_by_hand():
    assert mean_dice(mask([1, 1, 2]), mask([1, 1, 2])) == 1.0
    assert mean_dice(mask([1, 1, 2]), mask([1, 0, 2])) == pytest.approx((2 / 3 + 1) / 2)
    assert mean_dice(mask([1, 1]), mask([1, 1])) == 1.0
    assert mean_dice(mask([1, 1]), mask([2, 2])) == 0.0
    with pytest.raises(DifferentSpace):
        mean_dice(mask([1]), mask([0] * 79 + [1], (4, 4, 5)))


def test_all_numbers_have_a_group_and_are_finite(observer):
    seen = observer.observe("a", volume_of(0), LabelMap(
        np.zeros((12, 14, 10), np.uint8), volume_of(0).geometry, LABELS))  # fmt: skip
    assert {name.partition(".")[0] for name in seen.values} == {"image", "mask", "reference"}
    assert all(np.isfinite(value) for value in seen.values.values())
    assert {"mask.volume_ml.core", "mask.parts.shell", "mask.member_dice", DICE} <= set(seen.values)
    assert seen.embedding.shape == (8 * 5,)


def test_the_log_remembers_until_a_file_changes(tmp_path, observer, monkeypatch):
    (case,) = write_cases(tmp_path, 1)
    log = ObservationLog(tmp_path / "out", observer.bundle)
    (first,) = observe_all([case], observer, log=log)
    again = ObservationLog(tmp_path / "out", observer.bundle)
    monkeypatch.setattr(observer, "observe", None)
    (second,) = observe_all([case], observer, log=again)
    assert second.values == first.values
    np.testing.assert_allclose(second.embedding, first.embedding, rtol=1e-5)
    monkeypatch.undo()
    write_cases(tmp_path, 1)
    assert again.find(case) is None


def test_the_log_of_other_weights_or_half_a_line_is_not_used(tmp_path, observer):
    (case,) = write_cases(tmp_path, 1)
    list(observe_all([case], observer, log=ObservationLog(tmp_path, observer.bundle)))
    other = small_bundle(tmp_path / "other", members=1)
    assert ObservationLog(tmp_path, other).find(case) is None
    path = tmp_path / "observations.jsonl"
    path.write_text(path.read_text()[:-50])
    assert ObservationLog(tmp_path, observer.bundle).find(case) is None


def test_one_case_that_cannot_be_read_does_not_stop_the_others(tmp_path, observer):
    cases = write_cases(tmp_path, 2)
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    broken = CaseInput("broken", (tmp_path / "broken.nii.gz",))
    found = list(observe_all([cases[0], broken, cases[1]], observer))
    assert [type(one) for one in found] == [Observation, Unobserved, Observation]
    assert found[1].code.startswith("file")
