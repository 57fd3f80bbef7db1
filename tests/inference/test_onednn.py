import pytest
import torch
from torch import nn
from torch.profiler import profile

from medseg.inference.onednn import onednn_always

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN"
)


def operators(layer, image):
    """What a layer is computed with in the block, by torch's own names, and what it gives."""
    with torch.inference_mode(), profile() as watched, onednn_always(CPU):
        out = layer(image)
    return {event.key for event in watched.key_averages()}, out


@pytest.mark.parametrize(
    ("layer", "grid"),
    [
        (nn.Conv3d(4, 6, 3, padding=1), (6, 5, 4)),
        (nn.Conv3d(4, 6, (3, 3, 1), stride=(2, 2, 1), padding=(1, 1, 0), bias=False), (6, 5, 4)),
        (nn.Conv2d(4, 6, 3, padding=1), (6, 5)),
    ],
)
def test_a_single_small_patch_is_onednns_and_gives_the_same(layer, grid):
    image = torch.rand(1, 4, *grid)
    used, out = operators(layer, image)
    assert "aten::mkldnn_convolution" in used
    assert not any("slow_conv" in name or "thnn" in name for name in used)
    with torch.inference_mode():
        torch.testing.assert_close(out, layer(image), atol=1e-6, rtol=1e-5)


def test_without_the_block_torch_takes_its_own_loop():
    layer, image = nn.Conv3d(4, 6, 3, padding=1), torch.rand(1, 4, 6, 5, 4)
    with torch.inference_mode(), profile() as watched:
        layer(image)
    assert "aten::mkldnn_convolution" not in {event.key for event in watched.key_averages()}


@pytest.mark.parametrize(
    ("layer", "image"),
    [
        (nn.Conv3d(4, 6, 1), torch.rand(1, 4, 6, 5, 4)),
        (nn.Conv3d(4, 6, 3, padding="same"), torch.rand(1, 4, 6, 5, 4)),
        (nn.Conv3d(4, 6, 3, padding=1).double(), torch.rand(1, 4, 6, 5, 4).double()),
        (nn.ConvTranspose3d(4, 6, 2, 2), torch.rand(1, 4, 6, 5, 4)),
        (nn.Sequential(nn.InstanceNorm2d(4), nn.ReLU()), torch.rand(1, 4, 6, 5)),
    ],
)
def test_everything_else_is_left_as_it_is(layer, image):
    _, out = operators(layer, image)
    with torch.inference_mode():
        assert torch.equal(out, layer(image))


def test_on_a_gpu_nothing_changes():
    with onednn_always(torch.device("cuda")):
        assert torch.overrides._get_current_function_mode() is None
