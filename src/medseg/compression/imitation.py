"""What a student is asked to imitate: the logits of its teacher, and its features in structures."""

import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import BaseModel, Field
from torch import Tensor

from medseg.inference.engine import Activation
from medseg.specs import FROZEN
from medseg.tensors import Features, Labels, Logits

_POOL = {2: F.max_pool2d, 3: F.max_pool3d}


class ImitationSpec(BaseModel):
    """What is imitated, and how much that counts beside the labels.

    Attributes:
        temperature: What logits are divided by before they are compared; above 1 what a teacher
            thinks of the less likely classes counts for more.
        logits_weight: Weight of the divergence of the logits.
        features_weight: Weight of the loss of the features.
        boundary_weight: A voxel beside another label counts for so much more than 1.
        networks: So many networks of an ensemble teach, from the first on; None for all of them.
    """

    model_config = FROZEN

    temperature: float = Field(default=2.0, gt=0)
    logits_weight: float = Field(default=1.0, ge=0)
    features_weight: float = Field(default=0.1, ge=0)
    boundary_weight: float = Field(default=2.0, ge=0)
    networks: int | None = Field(default=None, ge=1)


def divergence(
    student: Logits,
    teacher: Logits,
    weights: Float[Tensor, "B ..."],
    *,
    temperature: float,
    activation: Activation = "softmax",
) -> Float[Tensor, ""]:
    """Kullback-Leibler divergence of the student's probabilities from the teacher's.

    It is multiplied by the square of the temperature, so that its gradient is of the same size at
    every temperature. Of regions, each of which is there or not, it is the mean over the regions.

    Args:
        student: Its logits.
        teacher: The teacher's; no gradient goes there.
        weights: How much each voxel counts; not all 0.
        temperature: What both are divided by.
        activation: What makes probabilities of logits.

    Returns:
        The weighted mean over voxels; 0 where both say the same.

    Source:
        Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015.
    """
    ours, theirs = student.float() / temperature, teacher.detach().float() / temperature
    if activation == "sigmoid":
        p = theirs.sigmoid()
        each = p * (F.logsigmoid(theirs) - F.logsigmoid(ours)) + (1 - p) * (
            F.logsigmoid(-theirs) - F.logsigmoid(-ours)
        )
        voxels = each.mean(dim=1)
    else:
        expected = F.log_softmax(theirs, dim=1)
        voxels = (expected.exp() * (expected - F.log_softmax(ours, dim=1))).sum(dim=1)
    return temperature**2 * (weights * voxels).sum() / weights.sum()


def feature_distance(
    student: Features, teacher: Features, inside: Bool[Tensor, "B ..."]
) -> Float[Tensor, ""]:
    """One less the cosine of the features of both, the mean over the voxels that are inside.

    A cosine asks for the direction of features alone: how large they are is each network's own
    affair.

    Args:
        student: Features of its last decoder stage, as wide as the teacher's.
        teacher: Features of the teacher's; no gradient goes there.
        inside: Which voxels count.

    Returns:
        Between 0 (same directions) and 2; 0 where no voxel counts.
    """
    ours, theirs = (one.movedim(1, -1)[inside].float() for one in (student, teacher.detach()))
    cosine = F.cosine_similarity(ours, theirs, dim=1, eps=1e-6)
    return (1 - cosine).sum() / max(1, len(cosine))


def beside_boundary(labels: Labels) -> Bool[Tensor, "B ..."]:
    """Voxels with a neighbour of another label, diagonals included."""
    values = labels[:, None].float()
    pool = _POOL[labels.ndim - 1]
    largest, smallest = pool(values, 3, 1, 1), -pool(-values, 3, 1, 1)
    return (largest != smallest)[:, 0]


def in_structures(labels: Labels, *, ignored: int | None = None) -> Bool[Tensor, "B ..."]:
    """Voxels of a structure, and those within one voxel of one.

    Args:
        labels: Class indices.
        ignored: Class index of voxels that nobody has judged; they belong to none.
    """
    there = labels > 0
    if ignored is not None:
        there &= labels != ignored
    return _POOL[labels.ndim - 1](there[:, None].float(), 3, 1, 1)[:, 0] > 0


def voxel_weights(labels: Labels, boundary_weight: float) -> Float[Tensor, "B ..."]:
    """1, and so much more beside another label."""
    return 1.0 + boundary_weight * beside_boundary(labels).float()
