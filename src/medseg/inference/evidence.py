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

from dataclasses import replace

import numpy as np

from medseg.inference.engine import Activation
from medseg.space.votes import TopClasses
from medseg.types import FloatArray

EXACT_DEPTH = 64.0
"""Where every class has a slot of its own: further than networks go, whose logits rarely differ by
40. A class that was cut at 16 in one window moved the border to where others said that it is not:
bench/volumes.py found 5,200 voxels of 950,000."""

SPARSE_DEPTH = 10.0
"""Where only the heaviest have one: down to 5e-5; more wins nothing (bench/slots.py)."""

_CHUNK_VALUES = 1 << 19
"""Logits that are turned to evidence at a time."""

_SMALLEST = np.float32(1e-30)
"""Instead of a sum of nothing."""


def depth_of(classes: int, slots: int) -> float:
    """How many nats below certainty evidence begins, for so many classes in so many slots."""
    return EXACT_DEPTH if classes <= slots else SPARSE_DEPTH


def to_evidence(logits: FloatArray, activation: Activation, depth: float) -> None:
    """Turn logits to evidence, in place and a slab at a time: no second array of their size.

    Args:
        logits: float32, shape (B, N, *patch), contiguous.
        activation: "softmax" over the N classes, or "sigmoid" of each region.
        depth: See the module.

    Raises:
        ValueError: If the logits do not lie in one piece of memory.
    """
    if not logits.flags.c_contiguous:
        raise ValueError("logits that are changed in place lie in one piece of memory")
    if activation == "sigmoid":
        logits *= np.float32(1 / (2 * depth))
        logits += np.float32(0.5)
        np.clip(logits, 0.0, 1.0, out=logits)
        return
    voxels = max(1, _CHUNK_VALUES // logits.shape[1])
    for scores in logits.reshape(*logits.shape[:2], -1):
        for start in range(0, scores.shape[1], voxels):
            _log_softmax(part := scores[:, start : start + voxels])
            part *= np.float32(1 / depth)
            part += np.float32(1.0)
            np.maximum(part, 0.0, out=part)


def _log_softmax(scores: FloatArray) -> None:
    """Over the first axis, in place; the largest is taken off first, so that nothing overflows."""
    scores -= scores.max(axis=0)
    total = np.exp(scores).sum(axis=0)
    scores -= np.log(total, out=total)


def probabilities(top: TopClasses) -> TopClasses:
    """What the mean evidence of each voxel says, as probabilities.

    Args:
        top: Evidence, which is left as it is; probabilities are returned as they are.
    """
    if top.evidence is None:
        return top
    weights = np.array(top.weights, order="C")
    to_probabilities(weights, *top.evidence)
    return replace(top, weights=weights, evidence=None)


def to_probabilities(evidence: FloatArray, activation: Activation, depth: float) -> None:
    """Turn the mean evidence of the heaviest classes to probabilities, in place.

    Args:
        evidence: float32, shape (S, I, J, K); 0 is an empty slot, which stays so.
        activation: "softmax": the slots of a voxel get the sum 1; "sigmoid": each stands alone.
        depth: What it was made with.
    """
    flat = evidence.reshape(len(evidence), -1)
    voxels = max(1, _CHUNK_VALUES // len(flat))
    for start in range(0, flat.shape[1], voxels):
        part = flat[:, start : start + voxels]
        is_there = part > 0
        if activation == "sigmoid":
            part -= np.float32(0.5)
            part *= np.float32(-2 * depth)
            np.exp(part, out=part)
            part += np.float32(1.0)
            np.divide(is_there, part, out=part)
        else:
            part -= part.max(axis=0)
            part *= np.float32(depth)
            np.exp(part, out=part)
            part *= is_there
            part /= np.maximum(part.sum(axis=0), _SMALLEST)
