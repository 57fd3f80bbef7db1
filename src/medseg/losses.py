"""What training makes small: soft Dice plus cross-entropy, at every resolution."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from medseg.specs import LossSpec
from medseg.tensors import Labels, Logits, Scales

SMOOTH = 1e-5
"""Added above and below the fraction of Dice, so that an absent structure has a value."""


class DiceCrossEntropy(nn.Module):
    """Soft Dice over the foreground classes plus cross-entropy over all classes.

    The Dice term is 1 - Dice: nnU-Net minimises -Dice, which has the same gradient. Logits are
    taken to float32 first, so that sums over many voxels stay right under autocast.

    Args:
        spec: Weights of the two terms, and whether Dice counts over the batch.

    Source:
        Milletari et al., V-Net, 3DV 2016; Isensee et al., nnU-Net, Nature Methods 18, 2021.
    """

    def __init__(self, spec: LossSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, logits: Logits, labels: Labels) -> Float[Tensor, ""]:
        """The loss of one resolution; `labels` are class indices on the grid of `logits`."""
        precise = logits if logits.dtype == torch.float64 else logits.float()
        log_probability = F.log_softmax(precise, dim=1)
        entropy = F.nll_loss(log_probability, labels.long())
        dice = soft_dice(log_probability.exp(), labels, batch_dice=self.spec.batch_dice)
        return self.spec.cross_entropy_weight * entropy + self.spec.dice_weight * (1 - dice.mean())


class DeepSupervision(nn.Module):
    """A loss at several resolutions: weights 1, 1/2, 1/4 and so on, 0 for the coarsest, sum 1.

    Labels are brought to each coarser grid by the nearest voxel.

    Args:
        loss: The loss of one resolution.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Scales | Logits, labels: Labels) -> Float[Tensor, ""]:
        """The weighted sum; a single tensor of logits counts alone."""
        scales = (logits,) if isinstance(logits, Tensor) else logits
        terms = [
            weight * self.loss(scale, nearest_labels(labels, scale.shape[2:]))
            for weight, scale in zip(scale_weights(len(scales)), scales, strict=True)
            if weight > 0
        ]
        return torch.stack(terms).sum()


def build_loss(spec: LossSpec) -> nn.Module:
    """The loss of a spec: `forward(logits of one or several resolutions, labels) -> scalar`."""
    return DeepSupervision(DiceCrossEntropy(spec))


def soft_dice(
    probability: Float[Tensor, "B N *grid"], labels: Labels, *, batch_dice: bool
) -> Float[Tensor, "S N-1"]:
    """Soft Dice of each foreground class.

    Args:
        probability: Share of each class at each voxel.
        labels: Class indices on the same grid.
        batch_dice: Whether the batch counts as one sample.

    Returns:
        One row a sample, or one row in all with `batch_dice`.
    """
    predicted = probability.flatten(2)[:, 1:]
    truth = labels.flatten(1)
    classes = torch.arange(1, probability.shape[1], device=labels.device)
    there = truth[:, None] == classes[:, None]
    overlap = torch.where(there, predicted, 0).sum(-1)
    mass = predicted.sum(-1) + there.sum(-1)
    if batch_dice:
        overlap, mass = overlap.sum(0, keepdim=True), mass.sum(0, keepdim=True)
    return (2 * overlap + SMOOTH) / (mass + SMOOTH)


def scale_weights(count: int) -> tuple[float, ...]:
    """Weights of `count` resolutions, finest first; the coarsest is 0 unless it is the only one."""
    halves = [0.5**n for n in range(max(count - 1, 1))]
    return (*(half / sum(halves) for half in halves), *(0.0,) * (count - len(halves)))


def nearest_labels(labels: Labels, grid: Sequence[int]) -> Tensor:
    """Labels (B, *grid) on a coarser grid: the voxel at the centre of each coarse one.

    Equal to nearest-exact interpolation; the view costs no copy where the sizes divide.
    """
    for axis, size in enumerate(grid, start=1):
        full = labels.shape[axis]
        if full == size:
            continue
        step = full // size
        if step * size == full:
            labels = labels.narrow(axis, step // 2, full - step // 2)
            labels = labels[(slice(None),) * axis + (slice(None, None, step),)]
        else:
            centres = (torch.arange(size, device=labels.device) + 0.5) * (full / size)
            labels = labels.index_select(axis, centres.long().clamp(max=full - 1))
    return labels
