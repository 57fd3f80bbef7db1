"""Convolutions of thin images are found, whoever calls them."""

import pytest
import torch
from torch import nn

from medseg.dataset.plan import Plan
from medseg.training.thin import has_thin_convolutions, is_thin


@pytest.mark.parametrize(
    ("depth", "kernel", "thin"),
    [(1, 3, False), (2, 3, True), (3, 3, False), (2, 1, False), (2, 5, True), (4, 5, True)],
)
def test_thin_is_thinner_than_the_kernel_and_thicker_than_a_voxel(
    depth: int, kernel: int, thin: bool
) -> None:
    image, weight = torch.zeros(1, 4, depth, 8, 8), torch.zeros(4, 4, kernel, 3, 3)
    assert is_thin(image, weight) is thin


def test_slices_and_depthwise_convolutions_are_right() -> None:
    assert not is_thin(torch.zeros(1, 4, 2, 8), torch.zeros(4, 4, 3, 3))
    assert not is_thin(torch.zeros(1, 4, 2, 8, 8), torch.zeros(4, 1, 3, 3, 3))


@pytest.mark.parametrize(("size", "thin"), [((8, 8, 8), False), ((2, 8, 8), True)])
def test_a_network_is_judged_at_its_patch(plan: Plan, size: tuple[int, ...], thin: bool) -> None:
    """Two voxels lie under a kernel of three at the first stage."""
    assert has_thin_convolutions(plan.model_copy(update={"patch_size": size})) is thin


def test_the_gradient_is_right_where_images_are_not_thin() -> None:
    """bf16 on this CPU agrees with fp32 for what the rule lets through."""
    torch.manual_seed(0)
    convolution, image = nn.Conv3d(8, 8, 3, padding=1, bias=False), torch.randn(2, 8, 4, 4, 4)
    gradients = []
    for half in (False, True):
        convolution.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = convolution(image)
        torch.autograd.backward(out.float().square().mean())
        assert convolution.weight.grad is not None
        gradients.append(convolution.weight.grad.clone())
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0.1, atol=0.02)
