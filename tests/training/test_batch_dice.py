"""Counts of a batch, and the Dice that follows."""

import pytest
import torch

from medseg.training.batch_dice import BatchOverlap, mean_dice_of


def test_classes_by_hand():
    """Five voxels: predicted 0 1 1 2 2, truth 0 1 2 2 0."""
    logits = torch.eye(3)[torch.tensor([0, 1, 1, 2, 2])].T[None]
    counts = BatchOverlap().counts(logits, torch.tensor([[0, 1, 2, 2, 0]]))
    assert counts.tolist() == [[2, 2], [1, 2], [1, 1]]
    assert mean_dice_of(counts) == pytest.approx((2 / 3 + 2 / 4) / 2)


def test_regions_by_hand():
    """Predicted in regions {1, 2} and {2}: none, first, both, both; truth 1 1 2 0."""
    logits = torch.tensor([[[-1.0, 1, 1, 1], [-1.0, -1, 1, 1]]])
    counts = BatchOverlap(((1, 2), (2,))).counts(logits, torch.tensor([[1, 1, 2, 0]]))
    assert counts.tolist() == [[3, 2], [3, 1], [2, 1]]


@pytest.mark.parametrize("regions", [(), ((1, 2), (2,))])
def test_ignored_voxels_are_not_counted(regions):
    labels = torch.randint(0, 4, (2, 5, 5))
    logits = torch.randn(2, 2 if regions else 3, 5, 5)
    overlap = BatchOverlap(regions, ignored=3)
    counted = overlap.counts(logits, labels)
    changed = torch.where((labels == 3)[:, None], -logits.flip(1), logits)
    assert torch.equal(overlap.counts(changed, labels), counted)
    without = [overlap.counts(logits[:, :, i], labels[:, i]) for i in range(5)]
    assert torch.equal(sum(without), counted)


def test_what_occurs_nowhere_does_not_count():
    assert mean_dice_of(torch.tensor([[0, 2], [0, 2], [0, 1]])) == 0.5
    assert mean_dice_of(torch.zeros(3, 2)) == 0.0
