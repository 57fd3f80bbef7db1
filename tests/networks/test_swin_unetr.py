import pytest
import torch
from counting import gmacs, parameters

from medseg.networks.swin_unetr import SwinUNETR
from medseg.specs.transformers import SwinUNETRSpec


@pytest.mark.parametrize(("version", "count"), [(1, 62_187_296), (2, 72_762_656)])
def test_parameters_of_the_paper(version, count):
    with torch.device("meta"):
        network = SwinUNETR(SwinUNETRSpec.paper(version))
    assert parameters(network) == count
    if version == 1:
        assert gmacs(network, 1, (96, 96, 96)) == pytest.approx(318.5, abs=0.5)


@pytest.mark.parametrize("dims", [2, 3])
def test_merging_takes_each_voxel_of_a_cube_once(dims):
    spec = SwinUNETRSpec.scaled(
        dims=dims, grid=(64,) * dims, in_channels=1, classes=2, width_share=0.1
    )
    merge = SwinUNETR(spec).body.swinViT.layers1[0].downsample
    seen = []
    merge.norm.register_forward_hook(lambda _, given, out: seen.append(given[0]))
    merge(torch.arange(12.0 * 2**dims).reshape(1, *(2,) * dims, 12))
    assert seen[0].flatten().sort().values.tolist() == list(range(12 * 2**dims))
