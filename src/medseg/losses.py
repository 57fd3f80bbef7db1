"""What training makes small: soft Dice plus cross-entropy, at every resolution."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
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
        ignored: Class index of voxels that do not count; None where all do.

    Source:
        Milletari et al., V-Net, 3DV 2016; Isensee et al., nnU-Net, Nature Methods 18, 2021.
    """

    def __init__(self, spec: LossSpec, *, ignored: int | None = None) -> None:
        super().__init__()
        self.spec, self.ignored = spec, ignored

    def forward(self, logits: Logits, labels: Labels) -> Float[Tensor, ""]:
        """The loss of one resolution; `labels` are class indices on the grid of `logits`.

        It is 0 where no voxel counts.
        """
        log_probability = F.log_softmax(_precise(logits), dim=1)
        if self.ignored is None:
            entropy = F.nll_loss(log_probability, labels.long())
        else:
            summed = F.nll_loss(
                log_probability, labels.long(), ignore_index=self.ignored, reduction="sum"
            )
            entropy = summed / (labels != self.ignored).sum().clamp(min=1)
        dice = soft_dice(
            log_probability.exp(), labels, batch_dice=self.spec.batch_dice, ignored=self.ignored
        )
        return _weighted(self.spec, entropy, dice)


class RegionMembers(nn.Module):
    """Which regions each voxel belongs to, by its class.

    Args:
        regions: Class indices that each region is made of.
    """

    def __init__(self, regions: Sequence[Sequence[int]]) -> None:
        super().__init__()
        # One class more than the regions have: it stands for all that belong to none.
        inside = torch.zeros(len(regions), max(max(r) for r in regions) + 2, dtype=torch.bool)
        for n, region in enumerate(regions):
            inside[n, list(region)] = True
        self.inside: Tensor
        self.register_buffer("inside", inside, persistent=False)

    def forward(self, labels: Labels) -> Bool[Tensor, "B R *grid"]:
        """From class indices to members; ignored voxels are in no region."""
        return self.inside[:, labels.long().clamp(max=self.inside.shape[1] - 1)].movedim(0, 1)


class DiceBinaryCrossEntropy(nn.Module):
    """Soft Dice and binary cross-entropy of regions, which may overlap.

    Each region has a channel of its own, whose sigmoid is the probability that a voxel belongs to
    it; the cross-entropy is the mean over voxels and regions.

    Args:
        spec: Weights of the two terms, and whether Dice counts over the batch.
        regions: Class indices that each region is made of.
        ignored: Class index of voxels that do not count; None where all do.

    Source:
        Isensee et al., nnU-Net for Brain Tumor Segmentation, BrainLes 2020.
    """

    def __init__(
        self, spec: LossSpec, regions: Sequence[Sequence[int]], *, ignored: int | None = None
    ) -> None:
        super().__init__()
        self.spec, self.ignored, self.members = spec, ignored, RegionMembers(regions)

    def forward(self, logits: Logits, labels: Labels) -> Float[Tensor, ""]:
        """The loss of one resolution; `labels` are class indices on the grid of `logits`.

        It is 0 where no voxel counts.
        """
        precise, there = _precise(logits), self.members(labels)
        each = F.binary_cross_entropy_with_logits(
            precise, there.to(precise.dtype), reduction="none"
        )
        counted = None if self.ignored is None else (labels != self.ignored)[:, None]
        if counted is None:
            entropy = each.mean()
        else:
            values = counted.sum().clamp(min=1) * logits.shape[1]
            entropy = torch.where(counted, each, 0).sum() / values
        dice = _dice(precise.sigmoid(), there, counted, batch_dice=self.spec.batch_dice)
        return _weighted(self.spec, entropy, dice)


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


def build_loss(
    spec: LossSpec, *, regions: Sequence[Sequence[int]] = (), ignored: int | None = None
) -> nn.Module:
    """The loss of a spec: `forward(logits of one or several resolutions, labels) -> scalar`.

    Args:
        spec: What is made small.
        regions: Class indices of each region, for "dice_bce".
        ignored: Class index of voxels that do not count.
    """
    if spec.kind == "dice_bce":
        return DeepSupervision(DiceBinaryCrossEntropy(spec, regions, ignored=ignored))
    return DeepSupervision(DiceCrossEntropy(spec, ignored=ignored))


def soft_dice(
    probability: Float[Tensor, "B N *grid"],
    labels: Labels,
    *,
    batch_dice: bool,
    ignored: int | None = None,
) -> Float[Tensor, "S N-1"]:
    """Soft Dice of each foreground class.

    Args:
        probability: Share of each class at each voxel.
        labels: Class indices on the same grid.
        batch_dice: Whether the batch counts as one sample.
        ignored: Class index of voxels that do not count.

    Returns:
        One row a sample, or one row in all with `batch_dice`.
    """
    shape = (-1, *(1,) * (labels.ndim - 1))
    classes = torch.arange(1, probability.shape[1], device=labels.device).view(shape)
    counted = None if ignored is None else (labels != ignored)[:, None]
    there = labels[:, None] == classes
    return _dice(probability[:, 1:], there, counted, batch_dice=batch_dice)


def _dice(
    predicted: Float[Tensor, "B S *grid"],
    there: Bool[Tensor, "B S *grid"],
    counted: Bool[Tensor, "B 1 *grid"] | None,
    *,
    batch_dice: bool,
) -> Tensor:
    """Soft Dice of each structure over the voxels that count, shape (B or 1, S)."""
    if counted is not None:
        predicted = torch.where(counted, predicted, 0)
    predicted, there = predicted.flatten(2), there.flatten(2)
    overlap = torch.where(there, predicted, 0).sum(-1)
    mass = predicted.sum(-1) + there.sum(-1)
    if batch_dice:
        overlap, mass = overlap.sum(0, keepdim=True), mass.sum(0, keepdim=True)
    return (2 * overlap + SMOOTH) / (mass + SMOOTH)


def _weighted(spec: LossSpec, entropy: Tensor, dice: Tensor) -> Tensor:
    return spec.cross_entropy_weight * entropy + spec.dice_weight * (1 - dice.mean())


def _precise(logits: Logits) -> Logits:
    """float32 at least."""
    return logits if logits.dtype == torch.float64 else logits.float()


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
