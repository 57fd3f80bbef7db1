import numpy as np
import pytest

from medseg.report.scores.details import details_of, detection_of, objects_of, reliability_of
from medseg.report.scores.score import evaluate
from medseg.report.scores.settings import ScoreSettings
from medseg.volume.io import write_volume
from medseg.volume.volume import Volume


def scored(boxes, study, **settings):
    return evaluate(
        study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True,
        settings=ScoreSettings(**settings),
    )  # fmt: skip


def test_nothing_is_said_where_nothing_was_asked(boxes, study):
    evaluation = scored(boxes, study)
    assert details_of(evaluation) == {}
    assert detection_of(evaluation, evaluation.labels[0]) is None
    assert objects_of(evaluation) is None
    assert reliability_of(evaluation, evaluation.labels[0]) is None


def test_lesions_are_counted_over_all_cases(boxes, study):
    evaluation = scored(boxes, study, lesions=("rim",))
    found = detection_of(evaluation, evaluation.labels[1])
    assert (found.reference_lesions, found.predicted_lesions, found.found) == (3, 2, 2)
    assert found.sensitivity == pytest.approx(2 / 3)
    assert found.precision == 1.0
    assert found.f1 == pytest.approx(0.8)
    assert found.mean_lesion_dice == pytest.approx((1.0 + 0.5 + 0.0) / 3)
    assert details_of(evaluation)["lesions"]["rim"]["invented"] == 0


def test_objects_are_averaged_and_counted(study):
    evaluation = evaluate(
        study / "masks", study / "labelsTr", allow_missing=True,
        settings=ScoreSettings(instances=True),
    )  # fmt: skip
    found = objects_of(evaluation)
    assert (found.tp, found.fn) == (4, 3)
    content = details_of(evaluation)["objects"]
    assert content["pq"]["n"] == 4
    assert content["counts"]["tp"] == 4


def test_calibration_is_over_the_voxels_of_all_cases(boxes, study):
    right = boxes.make_map().array == 1
    for n, name in enumerate(("a_right", "b_shifted", "c_no_rim")):
        sure = np.stack([np.where(right, 0.9 - 0.2 * n, 0.0), np.zeros(right.shape)])
        volume = Volume(sure.astype(np.float32), boxes.geometry, ("core", "rim"))
        write_volume(volume, study / "sure" / f"{name}.nii.gz")
    evaluation = evaluate(
        study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True,
        probabilities=study / "sure",
    )  # fmt: skip
    found = reliability_of(evaluation, evaluation.labels[0])
    share = right.mean()
    assert found.cases == 3
    assert sum(found.count) == 3 * right.size
    assert found.brier == pytest.approx(share * (0.1**2 + 0.3**2 + 0.5**2) / 3, rel=1e-5)
    assert found.ece == pytest.approx(share * (0.1 + 0.3 + 0.5) / 3, rel=1e-5)
    content = details_of(evaluation)["calibration"]
    assert set(content) == {"core", "rim"}
    assert None in content["core"]["confidence"]
