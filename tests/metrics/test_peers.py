"""The numbers of others: recorded ones, and live ones where the package is installed."""

import json

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  its usual name
from recorded import KEPT, SHAPES, masks, medpy, monai, surface_distance

from medseg.metrics.case import score_case

RECORDED = json.loads(KEPT.read_text(encoding="utf-8"))
PEERS = {"surface_distance": surface_distance, "monai": monai, "medpy": medpy}
SURFACE = {"surface_distance": "elements", "monai": "borders", "medpy": "borders"}
EXACT = {"surface_distance": 1e-9, "monai": 2e-6, "medpy": 1e-9}
"""By how much we may differ: MONAI reckons in single precision."""


def ours(name, surface):
    _, spacing_mm, tolerance_mm = SHAPES[name]
    return score_case(
        *masks(name), values=[1], spacing_mm=spacing_mm, tolerance_mm=tolerance_mm, surface=surface
    )[1]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("peer", PEERS)
def test_scores_are_those_that_the_peer_has_given(peer, name):
    scores = ours(name, SURFACE[peer])
    for metric, expected in RECORDED[peer][name].items():
        assert getattr(scores, metric) == pytest.approx(expected, abs=EXACT[peer]), metric


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(
    "peer", ["surface_distance", "medpy", pytest.param("monai", marks=pytest.mark.slow)]
)
def test_scores_are_those_that_the_peer_gives(peer, name):
    pytest.importorskip(peer, reason=f"{peer} is not installed beside us")
    scores = ours(name, SURFACE[peer])
    for metric, expected in PEERS[peer](name).items():
        assert getattr(scores, metric) == pytest.approx(expected, abs=EXACT[peer]), metric


@pytest.mark.parametrize("name", SHAPES)
def test_borders_and_overlaps_are_those_of_simpleitk(name):
    spacing_mm, tolerance_mm = SHAPES[name][1:]
    scores = ours(name, "borders")
    images = []
    for mask in masks(name):
        image = sitk.GetImageFromArray(np.pad(mask, 1).T.astype(np.uint8))
        image.SetSpacing(spacing_mm)
        images.append(image)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*images)
    assert scores.dice == pytest.approx(overlap.GetDiceCoefficient())
    assert scores.iou == pytest.approx(overlap.GetJaccardCoefficient())
    edges = [sitk.LabelContour(image) for image in images]
    maps = [
        sitk.GetArrayFromImage(
            sitk.SignedMaurerDistanceMap(edge, squaredDistance=False, useImageSpacing=True)
        )
        for edge in edges
    ]
    on = [sitk.GetArrayFromImage(edge) > 0 for edge in edges]
    there, back = np.abs(maps[1][on[0]]), np.abs(maps[0][on[1]])
    pooled = np.concatenate([there, back])
    expected = {
        "hd": pooled.max(),
        "hd95": max(np.percentile(there, 95), np.percentile(back, 95)),
        "hd95_pooled": np.percentile(pooled, 95),
        "assd": pooled.mean(),
        "assd_averaged": (there.mean() + back.mean()) / 2,
        "rmsd": np.sqrt((pooled.astype(np.float64) ** 2).mean()),
        "nsd": (pooled <= tolerance_mm + 1e-4).mean(),
    }
    for metric, value in expected.items():
        assert getattr(scores, metric) == pytest.approx(value, abs=2e-5), metric
