"""From labelled cases to a model that foretells Dice."""

from functools import partial

import pytest
from watching import small_bundle, write_cases

from medseg.continual.corruptions import CORRUPTIONS
from medseg.continual.quality_calibration import LabelledCase, calibrate_quality, draws
from medseg.errors import DriftError
from medseg.inference.opinions import Examiner
from medseg.volume.io import read_label_map, read_volume


@pytest.fixture(scope="module")
def examiner(tmp_path_factory):
    return Examiner(small_bundle(tmp_path_factory.mktemp("b") / "bundle"))


def labelled(folder, count):
    (folder / "labels").mkdir()
    cases = write_cases(folder, count, labels=folder / "labels")
    return [LabelledCase(case.id, partial(read_pair, case)) for case in cases]


def read_pair(case):
    path = case.images[0]
    return read_volume([path]), read_label_map(path.parent / "labels" / path.name)


def test_every_case_counts_with_its_copies(tmp_path, examiner):
    model = calibrate_quality(examiner, labelled(tmp_path, 20), copies=1)
    assert (model.cases, model.masks) == (20, 40)
    assert model.weights_sha256 == examiner.bundle.weights_sha256
    assert 0 <= model.error < 0.5


def test_too_few_cases_are_refused(tmp_path, examiner):
    with pytest.raises(DriftError, match=r"at least 20 labelled cases\. Received: 3"):
        calibrate_quality(examiner, labelled(tmp_path, 3))


def test_each_kind_comes_once_before_one_comes_again():
    drawn = draws(0, 8)
    assert len({kind for kind, _, _ in drawn[:6]}) == len(CORRUPTIONS) == 6
    assert draws(0, 8) == drawn != draws(1, 8)


def test_every_fourth_copy_is_severe():
    for seed in range(20):
        strengths = [strength for _, strength, _ in draws(seed, 8)]
        assert all(0.1 <= strength <= 0.9 for n, strength in enumerate(strengths) if n % 4 != 3)
        assert all(0.9 <= strength <= 1.6 for strength in strengths[3::4])
