import pytest
import torch
from contract import Contract
from counting import gmacs, parameters

from medseg.networks.swin_unetr import SwinUNETR
from medseg.specs.transformers import SwinUNETRSpec


def small(dims=2, **changes):
    settings = {
        "dims": dims, "in_channels": 1, "classes": 3, "features": 12, "depths": (2, 1, 1, 1),
        "window": 4,
    }  # fmt: skip
    return SwinUNETRSpec(**(settings | changes))


class TestContract(Contract):
    spec = staticmethod(small)
    refused = ((32, 32), r"multiples of \(32, 32\), at least one axis twice")

    def grid(self, dims):
        return (64,) + (32,) * (dims - 1)


@pytest.mark.parametrize(("version", "count"), [(1, 62_187_296), (2, 72_762_656)])
def test_parameters_of_the_paper(version, count):
    with torch.device("meta"):
        network = SwinUNETR(SwinUNETRSpec.paper(version))
    assert parameters(network) == count
    if version == 1:
        assert gmacs(network, 1, (96, 96, 96)) == pytest.approx(318.5, abs=0.5)


@pytest.mark.parametrize("dims", [2, 3])
def test_merging_takes_each_voxel_of_a_cube_once(dims):
    merge = SwinUNETR(small(dims)).body.swinViT.layers1[0].downsample
    seen = []
    merge.norm.register_forward_hook(lambda _, given, out: seen.append(given[0]))
    merge(torch.arange(12.0 * 2**dims).reshape(1, *(2,) * dims, 12))
    assert seen[0].flatten().sort().values.tolist() == list(range(12 * 2**dims))
