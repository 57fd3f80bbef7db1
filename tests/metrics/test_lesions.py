import numpy as np
import pytest

from medseg.errors import DifferentSpace, EvaluationError
from medseg.metrics.lesions import Lesion, panoptic_quality, score_lesions

ONE_MM = (1.0, 1.0, 1.0)


def nothing():
    return np.zeros((12, 12, 12), bool)


def three_lesions():
    """Of 8, 27 and 1 voxels; predicted are half of the first, the second, and another."""
    reference, predicted = nothing(), nothing()
    reference[0:2, 0:2, 0:2] = reference[5:8, 5:8, 5:8] = reference[11, 11, 11] = True
    predicted[0:1, 0:2, 0:2] = predicted[5:8, 5:8, 5:8] = predicted[0, 11, 11] = True
    return predicted, reference


def test_lesions_are_counted_matched_and_scored_by_themselves():
    scores = score_lesions(*three_lesions(), spacing_mm=(1.0, 1.0, 2.0))
    assert (scores.reference_lesions, scores.predicted_lesions, scores.matched) == (3, 3, 2)
    assert scores.f1 == scores.sensitivity == scores.precision == pytest.approx(2 / 3)
    assert scores.mean_lesion_dice == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert [one.status for one in scores.lesions] == [
        "matched", "matched", "missed", "false_positive",
    ]  # fmt: skip
    assert scores.lesions[0] == Lesion(
        "matched", pytest.approx(0.016), pytest.approx(0.008), pytest.approx(2 / 3), 0.5,
        (0.5, 0.5, 0.5),
    )  # fmt: skip
    assert scores.lesions[3].centre == (0.0, 11.0, 11.0)
    assert (scores.lesions[3].reference_ml, scores.lesions[3].dice) == (0.0, 0.0)


def test_half_of_a_lesion_is_found_by_overlap_and_not_by_half():
    scores = score_lesions(*three_lesions(), spacing_mm=ONE_MM, matching="half")
    assert scores.matched == 1
    assert scores.mean_lesion_dice == pytest.approx(1 / 3)


def test_one_blob_over_two_lesions_finds_one():
    reference, predicted = nothing(), nothing()
    reference[0:2], reference[3:7] = True, True
    predicted[0:7] = True
    scores = score_lesions(predicted, reference, spacing_mm=ONE_MM)
    assert (scores.matched, scores.sensitivity, scores.precision) == (1, 0.5, 1.0)
    assert [one.status for one in scores.lesions] == ["missed", "matched"]


def test_voxels_that_touch_at_a_corner_are_one_lesion():
    mask = nothing()
    mask[1, 1, 1] = mask[2, 2, 2] = True
    assert score_lesions(mask, mask, spacing_mm=ONE_MM).reference_lesions == 1


def test_empty_masks_are_as_everywhere():
    _, reference = three_lesions()
    both = score_lesions(nothing(), nothing(), spacing_mm=ONE_MM)
    assert (both.f1, both.sensitivity, both.precision, both.mean_lesion_dice) == (1, 1, 1, 1)
    missed = score_lesions(nothing(), reference, spacing_mm=ONE_MM)
    assert (missed.f1, missed.sensitivity, missed.precision, missed.mean_lesion_dice) == (0,) * 4
    invented = score_lesions(reference, nothing(), spacing_mm=ONE_MM)
    assert (invented.f1, invented.sensitivity, invented.precision) == (0, 0, 0)
    assert (invented.mean_lesion_dice, len(invented.lesions)) == (0, 3)


def test_a_2d_image_has_lesions_too():
    flat = np.array([[1, 0, 0, 1]], bool)
    scores = score_lesions(flat, flat, spacing_mm=(2.0, 3.0))
    assert (scores.f1, scores.lesions[1].centre) == (1.0, (0.0, 3.0))
    assert scores.lesions[0].reference_ml == pytest.approx(0.006)


def test_panoptic_quality_as_reckoned_by_hand():
    reference = np.array([[5, 5, 5, 5, 0, 9, 9, 9, 9, 2]])
    predicted = np.array([[1, 1, 1, 0, 7, 7, 3, 3, 3, 4]])
    # IoU: 5 with 1 has 3/4, 9 with 3 has 3/4, 2 with 4 has 1; 7 stands for nothing.
    scores = panoptic_quality(predicted, reference)
    assert (scores.tp, scores.fp, scores.fn) == (3, 1, 0)
    assert scores.sq == pytest.approx(2.5 / 3)
    assert scores.rq == pytest.approx(3 / 3.5)
    assert scores.pq == pytest.approx(2.5 / 3.5)


def test_objects_may_be_numbered_in_any_way():
    reference = np.array([[5, 5, 0, 9], [5, 5, 0, 9]])
    renumber = np.array([0, 0, 0, 0, 0, 7000, 0, 0, 0, 1])
    scores = panoptic_quality(renumber[reference], reference)
    assert (scores.pq, scores.tp) == (1.0, 2)


def test_no_objects_are_as_everywhere():
    empty, some = np.zeros((4, 4), int), np.eye(4, dtype=int)
    both, missed, invented = (
        panoptic_quality(empty, empty), panoptic_quality(empty, some), panoptic_quality(some, empty)
    )  # fmt: skip
    assert (both.pq, both.sq, both.rq) == (1.0, 1.0, 1.0)
    assert (missed.pq, missed.fn, missed.fp) == (0.0, 1, 0)
    assert (invented.pq, invented.fn, invented.fp) == (0.0, 0, 1)


def test_panoptic_quality_of_parts_is_the_f1_of_lesions_times_their_iou():
    predicted, reference = three_lesions()
    lesions = score_lesions(predicted, reference, spacing_mm=ONE_MM, matching="half")
    numbered = np.zeros(predicted.shape, int), np.zeros(predicted.shape, int)
    numbered[0][predicted] = [1] * 4 + [3] + [2] * 27
    numbered[1][reference] = [1] * 8 + [2] * 27 + [3]
    objects = panoptic_quality(*numbered)
    assert objects.rq == pytest.approx(lesions.f1)
    assert objects.sq == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda m: score_lesions(m, m[1:], spacing_mm=ONE_MM), DifferentSpace, "grid of its ref"),
        (lambda m: score_lesions(m, m, spacing_mm=(1.0, 1.0)), EvaluationError, "each"),
        (lambda m: score_lesions(m * 1.0, m, spacing_mm=ONE_MM), EvaluationError, "integers"),
        (
            lambda m: score_lesions(m, m, spacing_mm=ONE_MM, matching="iou"),
            EvaluationError,
            "overlap or half.*'iou'",
        ),
        (lambda m: panoptic_quality(m * -1, m), EvaluationError, "numbered from 1.*-1"),
        (lambda m: panoptic_quality(m[None], m[None]), EvaluationError, "two or three axes"),
    ],
)
def test_what_cannot_be_judged_is_refused(call, error, match):
    with pytest.raises(error, match=match):
        call(three_lesions()[1])
