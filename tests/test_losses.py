import math

import pytest
import torch
import torch.nn.functional as F

from medseg.losses import RegionMembers, build_loss, nearest_labels, scale_weights, soft_dice
from medseg.specs import LossSpec

SMOOTH = 1e-5


def logits_of(probability):
    """Logits (B, N, *grid) whose softmax is `probability`."""
    return torch.as_tensor(probability, dtype=torch.float64).log()


def test_known_answer_by_hand():
    """Two voxels, classes 0 and 1, shares (.75, .25) and (.5, .5), truth 0 and 1."""
    logits = logits_of([[[0.75, 0.5], [0.25, 0.5]]])
    dice = (2 * 0.5 + SMOOTH) / (0.75 + 1 + SMOOTH)
    entropy = -(math.log(0.75) + math.log(0.5)) / 2
    loss = build_loss(LossSpec())(logits, torch.tensor([[0, 1]]))
    assert loss.item() == pytest.approx(entropy + 1 - dice, rel=1e-12)


def test_each_term_has_its_weight():
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    dice = build_loss(LossSpec(cross_entropy_weight=0))(logits, labels)
    entropy = build_loss(LossSpec(dice_weight=0))(logits, labels)
    assert entropy.item() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-6)
    both = build_loss(LossSpec(dice_weight=2, cross_entropy_weight=3))(logits, labels)
    assert both.item() == pytest.approx(2 * dice.item() + 3 * entropy.item(), rel=1e-6)


def test_dice_counts_as_nnunet_does():
    """Written out with one-hot labels, as the published loss is."""
    shares = torch.randn(2, 4, 3, 3, 3, dtype=torch.float64).softmax(1)
    labels = torch.randint(0, 4, (2, 3, 3, 3))
    truth = F.one_hot(labels, 4).movedim(-1, 1)[:, 1:].double()
    both, sums = (shares[:, 1:] * truth).sum((2, 3, 4)), (shares[:, 1:] + truth).sum((2, 3, 4))
    alone = (2 * both + SMOOTH) / (sums + SMOOTH)
    torch.testing.assert_close(soft_dice(shares, labels, batch_dice=False), alone)
    batch = (2 * both.sum(0) + SMOOTH) / (sums.sum(0) + SMOOTH)
    torch.testing.assert_close(soft_dice(shares, labels, batch_dice=True), batch[None])


def test_a_perfect_answer_costs_nothing():
    labels = torch.randint(0, 3, (1, 4, 4, 4))
    logits = 100 * F.one_hot(labels, 3).movedim(-1, 1).float()
    assert build_loss(LossSpec())(logits, labels).item() == pytest.approx(0, abs=1e-5)


def test_an_absent_structure_has_dice_one_and_no_nan():
    shares = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    assert soft_dice(shares, torch.zeros(1, 2, dtype=torch.long), batch_dice=False).item() == 1


@pytest.mark.parametrize("batch_dice", [False, True])
def test_gradient(batch_dice):
    logits = torch.randn(2, 3, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 3, (2, 2, 3, 2))
    loss = build_loss(LossSpec(batch_dice=batch_dice))
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), (logits,))


@pytest.mark.parametrize("batch_dice", [False, True])
def test_the_order_of_voxels_samples_and_structures_does_not_matter(batch_dice):
    logits = torch.randn(3, 4, 5, 5, dtype=torch.float64)
    labels = torch.randint(0, 4, (3, 5, 5))
    loss = build_loss(LossSpec(batch_dice=batch_dice))
    expected = loss(logits, labels)
    samples = torch.tensor([2, 0, 1])
    torch.testing.assert_close(loss(logits[samples], labels[samples]), expected)
    voxels = torch.randperm(5)
    torch.testing.assert_close(loss(logits[:, :, voxels], labels[:, voxels]), expected)
    old_class_of = torch.tensor([0, 3, 1, 2])
    renamed = old_class_of.argsort()[labels]
    torch.testing.assert_close(loss(logits[:, old_class_of], renamed), expected)


def test_renaming_the_background_does_matter():
    logits, labels = torch.randn(1, 2, 6, 6), torch.randint(0, 2, (1, 6, 6))
    dice = build_loss(LossSpec(cross_entropy_weight=0))
    assert dice(logits, labels) != dice(logits.flip(1), 1 - labels)


def test_weights_are_halves_and_the_coarsest_has_none():
    assert scale_weights(1) == (1,)
    assert scale_weights(2) == (1, 0)
    assert scale_weights(3) == pytest.approx((2 / 3, 1 / 3, 0))
    assert scale_weights(5) == pytest.approx((8 / 15, 4 / 15, 2 / 15, 1 / 15, 0))


def test_resolutions_are_weighted_and_the_coarsest_gets_no_gradient():
    labels = torch.randint(0, 3, (2, 8, 8, 8))
    scales = tuple(torch.randn(2, 3, n, n, n, requires_grad=True) for n in (8, 4, 2))
    loss = build_loss(LossSpec())
    total = loss(scales, labels)
    middle = loss(scales[1], labels[:, 1::2, 1::2, 1::2])
    expected = 2 / 3 * loss(scales[0], labels) + 1 / 3 * middle
    torch.testing.assert_close(total, expected)
    total.backward()
    assert scales[1].grad is not None
    assert scales[2].grad is None


@pytest.mark.parametrize("grid", [(4, 4, 4), (8, 4, 2), (2, 2, 2), (3, 5, 8), (1, 1, 1)])
def test_coarse_labels_are_the_nearest_ones(grid):
    labels = torch.randint(0, 9, (2, 8, 8, 8))
    expected = F.interpolate(labels[:, None].double(), size=grid, mode="nearest-exact")[:, 0]
    assert torch.equal(nearest_labels(labels, grid), expected.long())


def test_small_label_types_are_taken():
    logits, labels = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 4, 4))
    loss = build_loss(LossSpec())
    assert loss(logits, labels) == loss(logits, labels.to(torch.uint8))


def test_half_precision_is_summed_in_full():
    """4096 voxels at a share of 0.001 each: bf16 sums would stop growing at 256 steps."""
    shares = torch.full((1, 2, 64, 64), 0.001)
    shares[:, 0] = 0.999
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    labels[0, 0, 0] = 1
    half = shares.log().bfloat16()
    loss = build_loss(LossSpec())
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(half, labels).dtype == torch.float32
        assert loss(half, labels).item() == pytest.approx(loss(half.double(), labels).item(), 1e-5)


NESTED = ((1, 2, 3), (2, 3), (3,))
REGIONS = LossSpec(kind="dice_bce")


def test_regions_by_hand():
    """Two voxels of classes 1 and 2, regions {1, 2} and {2}, probabilities written down."""
    shares = torch.tensor([[[0.8, 0.6], [0.3, 0.9]]], dtype=torch.float64)
    dice = [(2 * 1.4 + SMOOTH) / (1.4 + 2 + SMOOTH), (2 * 0.9 + SMOOTH) / (1.2 + 1 + SMOOTH)]
    entropy = -sum(math.log(p) for p in (0.8, 0.6, 0.7, 0.9)) / 4
    loss = build_loss(REGIONS, regions=((1, 2), (2,)))(shares.logit(), torch.tensor([[1, 2]]))
    assert loss.item() == pytest.approx(entropy + 1 - sum(dice) / 2, rel=1e-12)


def test_members_are_the_unions():
    members = RegionMembers(NESTED)(torch.tensor([[0, 1, 2, 3, 4]]))
    assert members.int().tolist() == [[[0, 1, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 0]]]


def test_perfect_regions_cost_nothing():
    labels = torch.randint(0, 4, (2, 5, 5, 5))
    logits = torch.where(RegionMembers(NESTED)(labels), 50.0, -50.0)
    loss = build_loss(REGIONS, regions=NESTED)(logits, labels)
    assert loss.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("batch_dice", [False, True])
def test_gradient_of_regions(batch_dice):
    logits = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 4, (2, 3, 3))
    spec = LossSpec(kind="dice_bce", batch_dice=batch_dice)
    loss = build_loss(spec, regions=((1, 2), (2,)), ignored=3)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), (logits,))


KINDS = [(LossSpec(), ()), (REGIONS, NESTED)]


@pytest.mark.parametrize(("spec", "regions"), KINDS)
@pytest.mark.parametrize("batch_dice", [False, True])
def test_ignored_voxels_change_neither_loss_nor_gradient(spec, regions, batch_dice):
    spec = spec.model_copy(update={"batch_dice": batch_dice})
    loss = build_loss(spec, regions=regions, ignored=4)
    labels = torch.randint(0, 5, (2, 6, 6, 6))
    channels = len(regions) or 4
    one = torch.randn(2, channels, 6, 6, 6, dtype=torch.float64)
    other = torch.where((labels == 4)[:, None], 100 * torch.randn_like(one), one)
    gradients = []
    values = []
    for logits in (one, other):
        logits.requires_grad_()
        values.append(loss(logits, labels))
        gradients.append(torch.autograd.grad(values[-1], logits)[0])
    assert values[0].item() == values[1].item() > 0
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=0)
    assert not gradients[0].movedim(1, -1)[labels == 4].any()
    assert gradients[0].movedim(1, -1)[labels != 4].any()


@pytest.mark.parametrize(("spec", "regions"), KINDS)
def test_ignored_voxels_are_as_if_they_were_not_there(spec, regions):
    labels = torch.randint(0, 4, (1, 6, 4))
    logits = torch.randn(1, len(regions) or 4, 6, 4, dtype=torch.float64)
    labels[:, 4:] = 4
    whole = build_loss(spec, regions=regions, ignored=4)(logits, labels)
    part = build_loss(spec, regions=regions)(logits[:, :, :4], labels[:, :4])
    assert whole.item() == pytest.approx(part.item(), rel=1e-12)


@pytest.mark.parametrize(("spec", "regions"), KINDS)
@pytest.mark.parametrize("scales", [1, 3])
def test_where_nothing_counts_the_loss_is_zero_and_so_is_its_gradient(spec, regions, scales):
    channels = len(regions) or 4
    logits = tuple(
        torch.randn(2, channels, 8 >> n, 8 >> n, requires_grad=True) for n in range(scales)
    )
    labels = torch.full((2, 8, 8), 4)
    value = build_loss(spec, regions=regions, ignored=4)(logits, labels)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert not logits[0].grad.any()
