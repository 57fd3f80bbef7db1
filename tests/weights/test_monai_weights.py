"""MONAI's UNETR and SwinUNETR, compared with its classes; and what older files differ in."""

import pytest
import torch
from maps import assert_one_to_one
from monai.networks.nets import UNETR, SwinUNETR

from medseg.errors import WrongCheckpoint
from medseg.weights import convert
from medseg.weights.monai import (
    swin_names,
    swin_spec,
    swin_vit_names,
    swin_vit_spec,
    unetr_names,
    unetr_spec,
)


@pytest.fixture(scope="module")
def unetr():
    torch.manual_seed(0)
    small = {"feature_size": 4, "hidden_size": 64, "mlp_dim": 48, "num_heads": 1}
    return UNETR(2, 3, (32, 32, 32), **small).eval()


@pytest.fixture(scope="module")
def swin():
    torch.manual_seed(0)
    return SwinUNETR(1, 3, feature_size=12, use_v2=True).eval()


IMAGE = torch.randn(1, 2, 32, 32, 32, generator=torch.Generator().manual_seed(1))


def test_unetr_computes_the_same(unetr, converted):
    state = unetr.state_dict()
    spec = unetr_spec(state)
    assert (spec.grid, spec.features, spec.heads) == ((32, 32, 32), 4, 1)
    assert_one_to_one(state, spec, unetr_names(spec, state))
    done, network = converted(state, "unetr")
    assert (network(IMAGE) - unetr(IMAGE)).abs().max() < 1e-4
    assert not done.homeless
    assert done.bundle.plan.patch_size == (32, 32, 32)


def test_a_linear_embedding_of_older_releases_becomes_a_convolution(unetr, converted):
    """Its rows are the voxels of a patch, channels last."""
    old = dict(unetr.state_dict())
    name = "vit.patch_embedding.patch_embeddings"
    kernel, bias = old.pop(f"{name}.weight"), old.pop(f"{name}.bias")
    old[f"{name}.1.weight"] = kernel.movedim(1, -1).flatten(1)
    old[f"{name}.1.bias"] = bias
    old["vit.patch_embedding.cls_token"] = torch.zeros(1, 1, 64)
    old = {key: x for key, x in old.items() if "norm_cross_attn" not in key}
    done, network = converted(old, "unetr")
    assert (network(IMAGE) - unetr(IMAGE)).abs().max() < 1e-4
    assert done.dead == ("vit.patch_embedding.cls_token",)


def test_positions_on_no_cube_are_refused(unetr):
    state = dict(unetr.state_dict())
    name = "vit.patch_embedding.position_embeddings"
    state[name] = state[name][:, :6]
    with pytest.raises(WrongCheckpoint, match="lie on a cube"):
        unetr_spec(state)


def test_swin_unetr_computes_the_same(swin, converted):
    state = swin.state_dict()
    spec = swin_spec(state)
    assert (spec.features, spec.window, spec.version) == (12, 7, 2)
    assert (spec.depths, spec.heads) == ((2, 2, 2, 2), (3, 6, 12, 24))
    assert_one_to_one(state, spec, swin_names(spec, state))
    _, network = converted(state, "swin_unetr")
    image = torch.randn(1, 1, 64, 32, 32)
    assert (network(image) - swin(image)).abs().max() < 1e-4


def test_a_self_supervised_encoder_fills_the_encoder(swin, tmp_path):
    encoder = {
        f"module.{name.removeprefix('swinViT.').replace('.linear', '.fc')}": tensor
        for name, tensor in swin.state_dict().items()
        if name.startswith("swinViT.")
    }
    encoder["module.rotation_head.weight"] = torch.zeros(4, 96)
    torch.save({"epoch": 3, "state_dict": encoder}, tmp_path / "ssl.pt")
    bare = {name.removeprefix("module."): tensor for name, tensor in encoder.items()}
    spec = swin_vit_spec(bare)
    assert_one_to_one(bare, spec, swin_vit_names(spec, bare))
    done = convert([tmp_path / "ssl.pt"], "swin_unetr", allow_missing=True)
    member = done.bundle.members[0]
    name = "swinViT.layers2.0.blocks.1.mlp.linear2.weight"
    assert torch.equal(member[f"body.{name}"], swin.state_dict()[name])
    assert not any("swinViT" in name for name in done.fresh)
    assert done.dead == ("rotation_head.weight",)
    with pytest.raises(WrongCheckpoint, match="an encoder only"):
        convert([tmp_path / "ssl.pt"], "swin_unetr")
