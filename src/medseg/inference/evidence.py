"""Logits as numbers that can be averaged a few classes at a time.

Windows, mirrors and members are averaged by their logits, as nnU-Net does, and not by their
probabilities. A sum over the few heaviest classes of a voxel needs numbers that are zero where
there is nothing to add. The evidence of a class is such a number: its log-probability, which
differs from its logit by what is the same for all classes of a voxel, from `depth` below certainty
upwards, scaled to lie between 0 and 1,

    evidence = max(0, 1 + log p / depth)                    of classes that exclude each other
    evidence = min(1, max(0, 1/2 + logit / (2 depth)))      of a region

so that the largest mean evidence is the largest mean logit, between voxels too: a mask is elected
from evidence, as nnU-Net interpolates logits. A class less likely than exp(-depth) counts as just
so likely.
"""

import numpy as np
import torch

from medseg.compiled import compiled
from medseg.inference.engine import Activation
from medseg.space.votes import TopClasses
from medseg.types import FloatArray

EXACT_DEPTH = 64.0
"""Where every class has a slot of its own: further than networks go, whose logits rarely differ by
40. A class that was cut at 16 in one window moved the border to where others said that it is not:
bench/volumes.py found 5,200 voxels of 950,000."""

SPARSE_DEPTH = 10.0
"""Where only the heaviest have one: down to 5e-5; more wins nothing (bench/slots.py)."""

_CHUNK_VALUES = 1 << 20
"""Logits that are turned to evidence at a time."""


def depth_of(classes: int, slots: int) -> float:
    """How many nats below certainty evidence begins, for so many classes in so many slots."""
    return EXACT_DEPTH if classes <= slots else SPARSE_DEPTH


def to_evidence(logits: FloatArray, activation: Activation, depth: float) -> None:
    """Turn logits to evidence, in place and a slab at a time: no second array of their size.

    Args:
        logits: float32, shape (B, N, *patch), contiguous.
        activation: "softmax" over the N classes, or "sigmoid" of each region.
        depth: See the module.
    """
    if activation == "sigmoid":
        torch.from_numpy(logits).div_(2 * depth).add_(0.5).clamp_(0.0, 1.0)
        return
    scores = torch.from_numpy(logits).view(*logits.shape[:2], -1)
    voxels = max(1, _CHUNK_VALUES // (scores.shape[0] * scores.shape[1]))
    for start in range(0, scores.shape[2], voxels):
        part = scores[:, :, start : start + voxels]
        part.copy_(part.log_softmax(1).div_(depth).add_(1.0).clamp_(min=0.0))


def probabilities(top: TopClasses) -> TopClasses:
    """What the mean evidence of each voxel says, as probabilities.

    Args:
        top: Evidence, which is left as it is; probabilities are returned as they are.
    """
    if top.evidence is None:
        return top
    weights = np.array(top.weights, order="C")
    to_probabilities(weights, *top.evidence)
    return TopClasses(top.classes, weights, top.geometry)


def to_probabilities(evidence: FloatArray, activation: Activation, depth: float) -> None:
    """Turn the mean evidence of the heaviest classes to probabilities, in place.

    Args:
        evidence: float32, shape (S, I, J, K); 0 is an empty slot, which stays so.
        activation: "softmax": the slots of a voxel get the sum 1; "sigmoid": each stands alone.
        depth: What it was made with.
    """
    flat = evidence.reshape(len(evidence), -1)
    if activation == "sigmoid":
        _of_regions(flat, np.float32(2 * depth))
    else:
        _of_classes(flat, np.float32(depth))


@compiled
def _of_classes(evidence: FloatArray, depth: np.float32) -> None:
    for v in range(evidence.shape[1]):
        most, total = np.float32(0.0), np.float32(0.0)
        for s in range(evidence.shape[0]):
            most = max(most, evidence[s, v])
        for s in range(evidence.shape[0]):
            if evidence[s, v] > 0:
                evidence[s, v] = np.exp(depth * (evidence[s, v] - most))
                total += evidence[s, v]
        for s in range(evidence.shape[0]):
            if total > 0:
                evidence[s, v] /= total


@compiled
def _of_regions(evidence: FloatArray, depth: np.float32) -> None:
    for v in range(evidence.shape[1]):
        for s in range(evidence.shape[0]):
            if evidence[s, v] > 0:
                evidence[s, v] = 1 / (1 + np.exp(depth * (np.float32(0.5) - evidence[s, v])))
