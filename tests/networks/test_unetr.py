import pytest
import torch
from contract import Contract
from counting import gmacs, parameters

from medseg.networks.unetr import UNETR
from medseg.specs.transformers import UNETRSpec


def small(dims=2, **changes):
    settings = {
        "dims": dims, "in_channels": 1, "classes": 3, "grid": (32,) + (16,) * (dims - 1),
        "features": 2, "token_width": 4, "mlp_width": 8, "heads": 2,
    }  # fmt: skip
    return UNETRSpec(**(settings | changes))


class TestContract(Contract):
    spec = staticmethod(small)
    refused = ((32, 32), r"grids of exactly \(32, 16\)")

    def grid(self, dims):
        return (32,) + (16,) * (dims - 1)


def test_parameters_and_multiplications_of_the_paper():
    with torch.device("meta"):
        network = UNETR(UNETRSpec.paper())
    assert parameters(network) == 92_802_478
    assert gmacs(network, 1, (96, 96, 96)) == pytest.approx(73.2, abs=0.05)


def test_what_is_never_used_is_held_for_parity_only():
    with torch.device("meta"):
        counts = [parameters(UNETR(small(unused_parameters=unused))) for unused in (True, False)]
    assert counts[0] - counts[1] == 12 * 2 * 4, "scale and shift of a norm in each of 12 layers"


def test_it_is_the_class_of_monai():
    from monai.networks.nets import unetr

    ours = UNETR(small(3, unused_parameters=True)).eval()
    theirs = unetr.UNETR(
        1, 3, (32, 16, 16), feature_size=2, hidden_size=4, mlp_dim=8, num_heads=2
    ).eval()
    weights = {name.removeprefix("body."): tensor for name, tensor in ours.state_dict().items()}
    theirs.load_state_dict(
        {name.replace("segmentation.", "out."): tensor for name, tensor in weights.items()}
    )
    image = torch.rand(1, 1, 32, 16, 16)
    torch.testing.assert_close(ours(image), theirs(image))
