import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion, distance_transform_edt, generate_binary_structure

from medseg.metrics import boundary
from medseg.metrics.case import score_case


def region(mask, spacing_mm, distance_mm):
    """The mask minus its erosion by a ball, and at least the border voxels."""
    padded = np.pad(mask, 1)
    away = distance_transform_edt(padded, sampling=spacing_mm)[(slice(1, -1),) * mask.ndim]
    faces = generate_binary_structure(mask.ndim, 1)
    return mask & ((away <= distance_mm * (1 + 1e-9)) | ~binary_erosion(mask, faces))


def blobs(seed, shape):
    """Two maps of two structures that overlap in part."""
    generator = np.random.default_rng(seed)
    reference = np.zeros(shape, np.uint8)
    for value in (1, 2):
        start = [generator.integers(0, n) for n in shape]
        reference[tuple(slice(s, s + generator.integers(1, 9)) for s in start)] = value
    other = generator.integers(0, 3, shape).astype(np.uint8)
    return np.where(generator.random(shape) < 0.1, other, np.roll(reference, 1, 0)), reference


@pytest.mark.parametrize("shape", [(9, 11, 12), (14, 15)])
@pytest.mark.parametrize("limit", [10**6, -(10**6)], ids=["marked", "by distance maps"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), distance_mm=st.floats(0.0, 7.0), c=st.floats(0.4, 4.0))
def test_it_is_the_overlap_of_two_boundary_regions(shape, limit, seed, distance_mm, c):
    predicted, reference = blobs(seed, shape)
    spacing_mm = (1.0, 1.7, c)[: len(shape)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boundary, "_STEPS", limit)
        scores = score_case(
            predicted, reference, values=[1, 2], spacing_mm=spacing_mm, tolerance_mm=distance_mm
        )
    for value, one in scores.items():
        a, b = (region(x == value, spacing_mm, distance_mm) for x in (predicted, reference))
        union = (a | b).sum()
        assert one.boundary_iou == pytest.approx((a & b).sum() / union if union else 1.0)


def test_a_shifted_square_scores_as_reckoned_by_hand():
    reference, predicted = np.zeros((2, 9, 9), np.uint8)
    reference[1:7, 1:7], predicted[2:8, 1:7] = 1, 1
    scores = score_case(predicted, reference, values=[1], spacing_mm=(1.0, 1.0), tolerance_mm=1.0)
    # Rings of 20 pixels; they share the two sides but their ends, 2 * 5, and cross nowhere else.
    assert scores[1].boundary_iou == pytest.approx(10 / 30)


def test_a_wide_region_is_the_whole_mask():
    reference, predicted = np.zeros((2, 7, 7, 7), np.uint8)
    reference[1:5, 1:5, 1:5], predicted[2:6, 1:5, 1:5] = 1, 1
    for tolerance_mm in (3.0, 300.0):
        scores = score_case(
            predicted, reference, values=[1], spacing_mm=(1.0,) * 3, tolerance_mm=tolerance_mm
        )
        assert scores[1].boundary_iou == scores[1].iou


def test_it_is_never_empty_however_small_the_distance():
    cube = np.zeros((7, 7, 7), np.uint8)
    cube[2:5, 2:5, 2:5] = 1
    cube_scores = score_case(cube, cube, values=[1], spacing_mm=(5.0,) * 3, tolerance_mm=0.0)
    assert cube_scores[1].boundary_iou == 1.0
