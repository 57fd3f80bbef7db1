import math

import numpy as np
import pytest

from medseg.errors import DifferentSpace, EvaluationError
from medseg.metrics.case import LabelScores, score_case

ONE_MM = (1.0, 1.0, 1.0)


def empty(shape=(8, 8, 8)):
    return np.zeros(shape, np.uint8)


def test_a_perfect_prediction_scores_one_and_zero_millimetres():
    cube = empty()
    cube[2:6, 2:6, 2:6] = 1
    scores = score_case(cube, cube, values=[1], spacing_mm=ONE_MM)[1]
    assert scores.status == "ok"
    assert (scores.dice, scores.iou, scores.nsd) == (1.0, 1.0, 1.0)
    assert (scores.hd, scores.hd95, scores.assd) == (0.0, 0.0, 0.0)
    assert scores.predicted_ml == scores.reference_ml == pytest.approx(0.064)


def test_a_shifted_cube_scores_as_reckoned_by_hand():
    reference, predicted = empty(), empty()
    reference[2:5, 2:5, 2:5] = 1
    predicted[3:6, 2:5, 2:5] = 1
    scores = score_case(
        predicted, reference, values=[1], spacing_mm=(2.0, 1.0, 1.0), surface="borders"
    )[1]
    assert scores.dice == pytest.approx(2 * 18 / 54)
    assert scores.iou == pytest.approx(18 / 36)
    assert scores.hd == pytest.approx(2.0)
    # Of 26 surface voxels each, 9 + 1 lie outside (the far face, and the other's hidden core);
    # the core is 1 mm from four faces of the other, the far face 2 mm from the nearest.
    assert scores.assd == pytest.approx((9 * 2.0 + 1 * 1.0) / 26)
    assert scores.nsd == pytest.approx(17 / 26)


def test_two_voxels_two_millimetres_apart():
    reference, predicted = empty(), empty()
    reference[1, 1, 1], predicted[1, 3, 1] = 1, 1
    scores = score_case(predicted, reference, values=[1], spacing_mm=ONE_MM, surface="borders")[1]
    assert (scores.dice, scores.hd, scores.hd95, scores.assd) == (0.0, 2.0, 2.0, 2.0)
    assert scores.nsd == 0.0
    assert (
        score_case(
            predicted, reference, values=[1], spacing_mm=ONE_MM, surface="borders", tolerance_mm=2
        )[1].nsd
        == 1
    )


def test_empty_masks_are_told_apart_and_never_flattered():
    reference, predicted = empty(), empty()
    reference[1:3, 1:3, 1:3] = 1
    predicted[4:6, 4:6, 4:6] = 2
    scores = score_case(predicted, reference, values=[1, 2, 3], spacing_mm=ONE_MM)
    assert [scores[v].status for v in (1, 2, 3)] == ["missed", "false_positive", "both_empty"]
    assert [scores[v].dice for v in (1, 2, 3)] == [0.0, 0.0, 1.0]
    assert [scores[v].nsd for v in (1, 2, 3)] == [0.0, 0.0, 1.0]
    for name in ("hd", "hd95", "assd"):
        assert [getattr(scores[v], name) for v in (1, 2, 3)] == [math.inf, math.inf, 0.0]


def test_a_2d_image_has_an_outline_and_not_two_faces():
    reference, predicted = empty((9, 9, 1)), empty((9, 9, 1))
    reference[1:8, 1:8], predicted[2:7, 2:7] = 1, 1
    flat = score_case(
        predicted, reference, values=[1], spacing_mm=(1.0, 1.0, 5.0), surface="borders"
    )[1]
    assert flat.hd == pytest.approx(math.sqrt(2))
    assert flat.assd == pytest.approx((16 * 1 + 20 * 1 + 4 * math.sqrt(2)) / (16 + 24))
    without_k = score_case(
        predicted[..., 0], reference[..., 0], values=[1], spacing_mm=(1.0, 1.0), surface="borders"
    )
    assert without_k[1].hd == flat.hd


def test_the_edge_of_the_grid_is_surface():
    reference, predicted = empty((6, 6, 6)), empty((6, 6, 6))
    reference[:], predicted[1:] = 1, 1
    assert score_case(predicted, reference, values=[1], spacing_mm=ONE_MM)[1].hd == 1.0


def test_a_perfect_prediction_is_perfect_in_every_score():
    ball = ball_of(4).astype(np.uint8)
    for surface in ("elements", "borders"):
        one = score_case(ball, ball, values=[1], spacing_mm=ONE_MM, surface=surface, tubes=[1])[1]
        assert one.dice == one.iou == one.nsd == one.boundary_iou == one.cldice == 1.0
        assert one.sensitivity == one.precision == one.specificity == 1.0
        assert one.hd == one.hd95 == one.hd95_pooled == one.assd == one.assd_averaged == 0.0
        assert one.rmsd == one.volume_difference_ml == one.relative_volume_difference == 0.0


def ball_of(radius):
    return sum(x * x for x in np.ogrid[-6:7, -6:7, -6:7]) <= radius * radius


def test_slabs_two_millimetres_apart_have_elements_two_millimetres_apart():
    reference, predicted = empty((12, 40, 40)), empty((12, 40, 40))
    reference[2:6], predicted[2:8] = 1, 1
    one = score_case(predicted, reference, values=[1], spacing_mm=ONE_MM)[1]
    assert one.hd == one.hd95 == one.hd95_pooled == pytest.approx(2.0)
    # Of 4 faces of 1600 mm2 two coincide and two are 2 mm apart; sides have 640 and 960 mm2.
    assert one.assd == pytest.approx(2 * 1600 * 2 / 8000, abs=0.03)
    assert one.nsd == pytest.approx(1 - 2 * 1600 / 8000, abs=0.03)


def test_volumes_differ_in_millilitres_and_in_shares():
    reference, predicted = empty(), empty()
    reference[0:2, 0:5, 0:5], predicted[0:1, 0:5, 0:5] = 1, 1
    one = score_case(predicted, reference, values=[1], spacing_mm=(2.0, 2.0, 2.0))[1]
    assert one.volume_difference_ml == pytest.approx(-0.2)
    assert one.relative_volume_difference == pytest.approx(-0.5)
    assert (one.sensitivity, one.precision, one.specificity) == (0.5, 1.0, 1.0)


@pytest.mark.parametrize("tube", [False, True])
def test_scores_without_masks_are_those_of_empty_masks(tube):
    reference = empty((2, 2, 2))
    tubes = [1] if tube else []
    nothing = score_case(reference, reference, values=[1], spacing_mm=ONE_MM, tubes=tubes)[1]
    assert LabelScores.absent(tube=tube) == nothing
    missed = score_case(reference, reference + 1, values=[1], spacing_mm=ONE_MM, tubes=tubes)[1]
    assert LabelScores.unpredicted(0.008, tube=tube) == missed
    assert LabelScores.unpredicted(0.0).status == "missed"


def test_an_empty_mask_fails_in_every_score_but_specificity():
    reference = empty()
    reference[2:4, 2:4, 2:4] = 1
    for pair in ((empty(), reference), (reference, empty())):
        one = score_case(*pair, values=[1], spacing_mm=ONE_MM, tubes=[1])[1]
        assert (one.sensitivity, one.precision, one.boundary_iou, one.cldice) == (0, 0, 0, 0)
        assert one.hd95_pooled == one.assd_averaged == one.rmsd == math.inf
        assert one.specificity > 0.98


@pytest.mark.parametrize("shape", [(1, 9, 11), (9, 1, 11), (9, 11, 1), (9, 11)])
def test_the_axis_of_one_voxel_may_be_any(shape):
    generator = np.random.default_rng(0)
    predicted, reference = (generator.random((2, 9, 11)) < 0.5).astype(np.uint8)
    spacing_mm = tuple({9: 1.0, 11: 2.0, 1: 0.1}[size] for size in shape)
    expected = score_case(predicted, reference, values=[1], spacing_mm=(1.0, 2.0))[1]
    one = score_case(
        predicted.reshape(shape), reference.reshape(shape), values=[1], spacing_mm=spacing_mm
    )[1]
    for name in ("hd", "hd95", "assd", "nsd", "rmsd", "boundary_iou"):
        assert getattr(one, name) == pytest.approx(getattr(expected, name))


@pytest.mark.parametrize("surface", ["elements", "borders"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (1, 1, 1), (1, 1, 7)])
def test_lines_and_single_voxels_are_scored_too(shape, surface):
    full = np.ones(shape, np.uint8)
    spacing_mm = (1.0,) * len(shape)
    one = score_case(full, full, values=[1], spacing_mm=spacing_mm, surface=surface)[1]
    assert (one.hd, one.nsd, one.boundary_iou) == (0.0, 1.0, 1.0)
    if full.size > 1:
        part = full.copy()
        part.reshape(-1)[-2:] = 0
        short = score_case(part, full, values=[1], spacing_mm=spacing_mm, surface=surface)[1]
        assert short.hd == 2.0


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.int16, np.uint16, np.int64])
def test_any_integer_type_and_any_memory_order_score_the_same(kind):
    generator = np.random.default_rng(0)
    predicted, reference = (generator.random((2, 7, 8, 9)) < 0.3).astype(np.uint8)
    expected = score_case(predicted, reference, values=[1], spacing_mm=(1.0, 2.0, 3.0))
    turned = np.asfortranarray(predicted.astype(kind))
    turned.flags.writeable = False
    assert score_case(turned, reference, values=[1], spacing_mm=(1.0, 2.0, 3.0)) == expected


def test_large_label_values_are_kept_apart():
    labels = empty().astype(np.uint16)
    labels[:4], labels[4:] = 300, 65535
    scores = score_case(labels, labels, values=[300, 65535, 44], spacing_mm=ONE_MM)
    assert [x.status for x in scores.values()] == ["ok", "ok", "both_empty"]


def test_values_that_are_not_asked_for_count_as_background():
    labels = empty()
    labels[2:4], labels[5:7] = 1, 9
    assert list(score_case(labels, labels, values=[1], spacing_mm=ONE_MM)) == [1]


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"predicted": empty((8, 8, 7))}, DifferentSpace, r"\(8, 8, 7\) and \(8, 8, 8\)"),
        ({"predicted": empty().astype(float)}, EvaluationError, "holds integers.*float64"),
        ({"predicted": empty().astype(int) - 1}, EvaluationError, "between 0 and 65535.*-1"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, EvaluationError, "positive spacing"),
        ({"spacing_mm": (1.0, math.nan, 1.0)}, EvaluationError, "positive spacing"),
        ({"spacing_mm": (1.0, 1.0)}, EvaluationError, "positive spacing"),
        ({"values": [0, 1]}, EvaluationError, "different numbers from 1"),
        ({"values": [1, 1]}, EvaluationError, "different numbers from 1"),
        ({"tolerance_mm": -1.0}, EvaluationError, "tolerance"),
        ({"tubes": [2]}, EvaluationError, r"Tubes are among.*\[2\] of values \[1\]"),
        ({"surface": "edges"}, EvaluationError, "elements or borders.*'edges'"),
        ({"predicted": empty((8, 0)), "reference": empty((8, 0))}, EvaluationError, "one voxel"),
    ],
)
def test_what_cannot_be_scored_is_refused(changes, error, match):
    arguments = {"predicted": empty(), "reference": empty(), "values": [1], "spacing_mm": ONE_MM}
    arguments.update(changes)
    with pytest.raises(error, match=match):
        score_case(arguments.pop("predicted"), arguments.pop("reference"), **arguments)
