import pytest
import torch

from medseg.networks.layers import LAYERS, convolve, resized


@pytest.mark.parametrize("dims", [2, 3])
def test_a_computed_weight_convolves_as_a_layer_does(dims):
    layer = LAYERS[dims].conv(2, 3, 3, 2, 1)
    image = torch.rand(1, 2, *(6,) * dims)
    out = convolve(image, layer.weight, layer.bias, stride=2, padding=1)
    torch.testing.assert_close(out, layer(image))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_ramp_stays_a_ramp(dims):
    ramp = torch.arange(3.0).reshape(1, 1, 3, *(1,) * (dims - 1)).expand(1, 1, *(3,) * dims)
    finer = resized(ramp, (5,) * dims, align_corners=True)
    along = finer.movedim(2, -1).reshape(-1, 5)
    torch.testing.assert_close(along, torch.arange(0, 2.1, 0.5).expand_as(along))
