import pytest
import torch

from medseg import networks
from medseg.errors import PlanError
from medseg.specs import PlainUNetSpec


def hippocampus(**changes):
    settings = {
        "dims": 3,
        "in_channels": 1,
        "classes": 3,
        "features": (32, 64, 128, 256),
        "kernels": ((3, 3, 3),) * 4,
        "strides": ((1, 1, 1), *((2, 2, 2),) * 3),
        "encoder_convs": (2, 2, 2, 2),
        "decoder_convs": (2, 2, 2),
    }
    return PlainUNetSpec(**(settings | changes))


def count(spec):
    with torch.device("meta"):
        return sum(p.numel() for p in networks.build(spec).parameters() if p.requires_grad)


def test_parameters_of_the_paper():
    assert count(networks.paper_spec("plain_unet")) == 31_196_399


def test_parameters_of_the_hippocampus_plan():
    assert count(hippocampus()) == 5_603_177


def test_deep_supervision_costs_two_heads_here():
    coarse_heads = (64 + 1) * 3 + (128 + 1) * 3
    assert count(hippocampus()) - count(hippocampus(deep_supervision=False)) == coarse_heads


def test_multiplications_of_the_hippocampus_plan():
    giga = 0.0

    def count_them(module, _, out):
        nonlocal giga
        if hasattr(module, "weight") and module.weight.ndim == 5:
            voxels = out[0, 0].numel()
            if isinstance(module, torch.nn.ConvTranspose3d):
                voxels //= module.weight[0, 0].numel()
            giga += module.weight.numel() * voxels / 1e9

    with torch.device("meta"):
        network = networks.build(hippocampus())
        for module in network.modules():
            module.register_forward_hook(count_them)
        network(torch.empty(1, 1, 40, 56, 40))
    assert giga == pytest.approx(19.1, abs=0.1)


def test_every_name_has_a_paper():
    assert networks.names()[0] == "plain_unet"
    assert all(networks.paper_spec(name).kind == name for name in networks.names())


def test_an_unknown_name_is_refused():
    with pytest.raises(PlanError, match="Networks are plain_unet"):
        networks.paper_spec("v_net")
