"""What is kept of a held-out case comes back, whole or not at all."""

import numpy as np
import pytest

from medseg.specs.postprocess import MinimumVolumeSpec
from medseg.training.judged import Doubts, Judged, Judgement, OutOfFold, Trial
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_label_map
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap

MASK = LabelMap(
    np.eye(4, dtype=np.uint8)[..., None] * 3,
    Geometry.from_spacing((1.0, 2.0, 3.0), (4, 4, 1)),
    (Label(value=3, name="core"),),
)
STEP = MinimumVolumeSpec(structure="core", volume_ml=0.5)
JUDGEMENT = Judgement(
    case="ca se_1",
    fold=2,
    dice={"core": 0.5, "shell": None},
    trials=(Trial(step=STEP, before=0.5, after=0.75),),
)
DOUBTS = Doubts(np.array([[0.25, 0.75]], np.float32), np.array([1], np.int8))


@pytest.fixture
def results(tmp_path):
    return OutOfFold(tmp_path / "out_of_fold", tmp_path / "judged")


@pytest.mark.parametrize("doubts", [None, DOUBTS])
def test_it_comes_back_equal(results, doubts):
    results.keep(Judged(JUDGEMENT, doubts), MASK)
    found = results.find(JUDGEMENT.case)
    assert found.judgement == JUDGEMENT
    assert (found.doubts is None) == (doubts is None)
    if doubts is not None:
        np.testing.assert_array_equal(found.doubts.probabilities, doubts.probabilities)
        np.testing.assert_array_equal(found.doubts.truth, doubts.truth)
    mask = read_label_map(results.mask(JUDGEMENT.case), MASK.labels)
    np.testing.assert_array_equal(mask.array, MASK.array)
    assert mask.geometry.same_space(MASK.geometry)
    assert [path.name for path in results.masks.iterdir()] == ["ca se_1.nii.gz"]


def test_without_mask_or_with_half_a_record_nothing_is_known(results):
    assert results.find("other") is None
    results.keep(Judged(JUDGEMENT), MASK)
    (record,) = results.records.iterdir()
    whole = record.read_bytes()
    record.write_bytes(whole[: len(whole) // 2])
    assert results.find(JUDGEMENT.case) is None
    record.write_bytes(whole)
    assert results.find(JUDGEMENT.case) is not None
    results.mask(JUDGEMENT.case).unlink()
    assert results.find(JUDGEMENT.case) is None
