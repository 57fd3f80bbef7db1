"""Laws of what a student imitates."""

import pytest
import torch
from pydantic import ValidationError

from medseg.compression.imitation import (
    ImitationSpec,
    beside_boundary,
    divergence,
    feature_distance,
    in_structures,
    voxel_weights,
)

ACTIVATIONS = ("softmax", "sigmoid")


def logits(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_divergence_is_zero_from_itself_and_positive_from_others(activation, temperature):
    one, other, even = logits(0, 2, 3, 4, 5), logits(1, 2, 3, 4, 5), torch.ones(2, 4, 5)
    options = {"temperature": temperature, "activation": activation}
    assert float(divergence(one, one, even, **options)) == pytest.approx(0.0, abs=1e-6)
    assert float(divergence(one, other, even, **options)) > 0.01


def test_divergence_by_hand():
    """Probabilities 3/4 and 1/4 against even ones: log 2 less the entropy."""
    teacher = torch.tensor([3.0, 1.0]).log().view(1, 2, 1, 1)
    expected = 0.75 * torch.tensor(1.5).log() + 0.25 * torch.tensor(0.5).log()
    found = divergence(torch.zeros(1, 2, 1, 1), teacher, torch.ones(1, 1, 1), temperature=1.0)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_softmax_does_not_see_a_shift_of_all_logits():
    one, other, even = logits(0, 1, 3, 4, 4), logits(1, 1, 3, 4, 4), torch.ones(1, 4, 4)
    plain = divergence(one, other, even, temperature=2.0)
    assert torch.allclose(plain, divergence(one + 5, other - 3, even, temperature=2.0), atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_its_size_hardly_depends_on_the_temperature(activation):
    """At high temperatures the gradient tends to a limit: that of matching the logits."""
    teacher, even, found = logits(1, 1, 3, 4, 4), torch.ones(1, 4, 4), []
    for temperature in (50.0, 100.0):
        student = logits(0, 1, 3, 4, 4).requires_grad_()
        divergence(
            student, teacher, even, temperature=temperature, activation=activation
        ).backward()
        found.append(student.grad)
    assert torch.allclose(*found, rtol=0.05, atol=1e-4)


def test_no_gradient_reaches_the_teacher():
    student, teacher = logits(0, 1, 2, 3, 3).requires_grad_(), logits(1, 1, 2, 3, 3)
    teacher.requires_grad_()
    divergence(student, teacher, torch.ones(1, 3, 3), temperature=2.0).backward()
    feature_distance(student, teacher, torch.ones(1, 3, 3, dtype=torch.bool)).backward()
    assert teacher.grad is None
    assert float(student.grad.abs().sum()) > 0


def test_a_voxel_of_no_weight_does_not_count_and_weights_are_relative():
    one, other = logits(0, 1, 3, 2, 2), logits(1, 1, 3, 2, 2)
    weights = torch.ones(1, 2, 2)
    weights[0, 0, 0] = 0
    changed = other.clone()
    changed[0, :, 0, 0] += torch.tensor([9.0, -9.0, 0.0])
    plain = divergence(one, other, weights, temperature=2.0)
    assert torch.equal(plain, divergence(one, changed, weights, temperature=2.0))
    assert torch.allclose(plain, divergence(one, other, 7 * weights, temperature=2.0))


def test_features_count_by_direction_and_inside_only():
    one, other = logits(0, 1, 4, 3, 3), logits(1, 1, 4, 3, 3)
    inside = torch.zeros(1, 3, 3, dtype=torch.bool)
    assert float(feature_distance(one, other, inside)) == 0
    inside[0, 1, 1] = True
    assert float(feature_distance(5 * one, one, inside)) == pytest.approx(0, abs=1e-6)
    assert float(feature_distance(-one, one, inside)) == pytest.approx(2, abs=1e-6)
    changed = one.clone()
    changed[..., 0] = other[..., 0]
    assert torch.equal(
        feature_distance(one, other, inside), feature_distance(changed, other, inside)
    )


@pytest.mark.parametrize("dims", [2, 3])
def test_boundaries_lie_on_both_sides(dims):
    labels = torch.zeros((1, *(7,) * dims), dtype=torch.long)
    labels[:, :4] = 2
    near = beside_boundary(labels)
    assert near[:, 3:5].all()
    assert int(near.sum()) == 2 * 7 ** (dims - 1)
    weights = voxel_weights(labels, 3.0)
    assert set(weights.unique().tolist()) == {1.0, 4.0}
    assert not beside_boundary(torch.ones_like(labels)).any()


def test_structures_are_widened_by_a_voxel_and_ignored_voxels_are_none():
    labels = torch.zeros(1, 7, 7, dtype=torch.long)
    labels[0, 3, 3], labels[0, 0, 6] = 1, 5
    inside = in_structures(labels, ignored=5)
    assert int(inside.sum()) == 9
    assert inside[0, 2:5, 2:5].all()
    assert not in_structures(torch.zeros_like(labels)).any()


def test_a_temperature_is_positive():
    with pytest.raises(ValidationError, match="greater than 0"):
        ImitationSpec(temperature=0)
