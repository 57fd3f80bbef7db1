"""From files to a bundle: what is missing, what is left over, and what is refused."""

import numpy as np
import pytest
import torch
from forwards import transunet as forward
from nnunet_files import write_checkpoint
from planning_around import some_plan
from published import mednext, nnunet, random_state, transunet

from medseg.bundle import build_member, load_bundle, save_bundle
from medseg.errors import PlanError, WrongCheckpoint
from medseg.inference.predict import Predictor
from medseg.volume.geometry import Geometry, picture_geometry
from medseg.volume.volume import Volume
from medseg.weights import convert
from medseg.weights.surroundings import Wishes


def saved(path, state):
    torch.save(state, path)
    return path


def small_mednext():
    return random_state(mednext(supervised=False))


def test_a_bundle_predicts(tmp_path):
    done = convert([write_checkpoint(tmp_path / "c.pth")], "plain_unet")
    bundle = load_bundle(save_bundle(done.bundle, tmp_path / "bundle").folder)
    array = np.random.default_rng(0).normal(size=(2, 30, 20, 10)).astype(np.float32)
    geometry = Geometry.from_spacing((0.5, 1.0, 3.0), array.shape[1:])
    volume = Volume(array, geometry, ("MRI", "CT"))
    prediction = Predictor(bundle, device="cpu", precision="fp32").predict(volume)
    assert set(prediction.volumes_ml) == {"liver", "tumour"}
    assert bundle.provenance.data_name == "Dataset999_Small"


def test_a_picture_gets_the_mask_that_its_authors_give_it(tmp_path):
    """Theirs is an array of rows and columns, ours one of columns and rows."""
    state = random_state(transunet(classes=3))
    done = convert([saved(tmp_path / "c.pth", state)], "transunet")
    rows = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    volume = Volume(
        rows.transpose(2, 1, 0)[..., np.newaxis], picture_geometry((32, 32, 1)), ("r", "g", "b")
    )
    mask = Predictor(done.bundle, device="cpu", precision="fp32").predict(volume).label_map.array
    image = torch.from_numpy(rows.transpose(2, 0, 1) / np.float32(255))[None]
    theirs = forward(state, image, groups=2, heads=1)[0].argmax(0).numpy()
    assert len(np.unique(theirs)) > 1
    assert (theirs == mask[..., 0].T).mean() > 0.99


def test_folds_are_an_ensemble(tmp_path):
    paths = [write_checkpoint(tmp_path / f"fold_{n}" / "c.pth", seed=n) for n in range(2)]
    done = convert(paths, "plain_unet")
    assert len(done.bundle.members) == 2
    name = "encoder.0.0.conv.weight"
    assert not torch.equal(done.bundle.members[0][name], done.bundle.members[1][name])
    paths.append(write_checkpoint(tmp_path / "fold_2" / "c.pth", dims=2))
    with pytest.raises(WrongCheckpoint, match="ensemble have the same network"):
        convert(paths, "plain_unet")


def test_a_weight_that_is_missing_is_named_and_refused(tmp_path):
    state = small_mednext()
    del state["bottleneck.0.norm.bias"], state["down_1.conv2.weight"]
    path = saved(tmp_path / "c.pth", state)
    with pytest.raises(WrongCheckpoint, match=r"2 of \d+ are missing, .*bottleneck\.0\.norm\.bias"):
        convert([path], "mednext")
    done = convert([path], "mednext", allow_missing=True)
    assert set(done.fresh) == {"bottleneck.0.norm.bias", "downs.1.widen.weight"}
    assert done.reason == "the checkpoint does not hold them"
    build_member(done.bundle)


def test_a_tensor_without_a_home_is_named(tmp_path):
    state = small_mednext() | {"attention.weight": torch.ones(3)}
    done = convert([saved(tmp_path / "c.pth", state)], "mednext")
    assert done.homeless == ("attention.weight",)
    assert done.dead == ("dummy_tensor",)


def test_a_head_for_other_classes_is_fresh_and_that_is_said(tmp_path):
    path = saved(tmp_path / "c.pth", small_mednext())
    done = convert([path], "mednext", Wishes(labels=("a", "b", "c", "d")))
    assert set(done.fresh) == {"heads.0.weight", "heads.0.bias"}
    assert done.reason == "the checkpoint has 3 classes, the plan 5"
    assert done.bundle.plan.network.classes == 5
    again = convert([path], "mednext", Wishes(labels=("a", "b", "c", "d"))).bundle.members[0]
    assert all(torch.equal(again[name], x) for name, x in done.bundle.members[0].items())


def test_a_plan_is_a_home(tmp_path):
    path = saved(tmp_path / "c.pth", small_mednext())
    done = convert([path], "mednext", Wishes(plan=some_plan(dims=3)))
    assert done.bundle.plan.dataset == "abdomen"
    assert done.bundle.plan.network.kind == "mednext"
    assert not done.fresh
    with pytest.raises(PlanError, match="2d plan"):
        convert([path], "mednext", Wishes(plan=some_plan(dims=2)))


def test_positions_are_interpolated_to_the_grid_of_a_plan(tmp_path):
    path = saved(tmp_path / "c.pth", random_state(transunet()))
    first = convert([path], "transunet").bundle.plan
    spec = first.network.model_copy(update={"grid": (64, 48)})
    facts = {"network": spec, "patch_size": (64, 48, 1)}
    plan = first.model_copy(update=facts)
    done = convert([path], "transunet", Wishes(plan=plan, orientation="PLS"))
    assert done.bundle.plan.network.grid == (64, 48)
    assert done.bundle.members[0]["transformer.positions"].shape == (1, 12, 8)
    image = torch.randn(1, 3, 64, 48)
    assert build_member(done.bundle)(image).shape == (1, 3, 64, 48)


def test_axes_of_a_network_with_attention_cannot_be_turned(tmp_path):
    path = saved(tmp_path / "c.pth", random_state(transunet()))
    with pytest.raises(WrongCheckpoint, match="they are convolutions only"):
        convert([path], "transunet", axes="zyx")


def test_a_variant_with_other_widths_is_refused(tmp_path):
    state = small_mednext()
    state["enc_block_0.0.norm.weight"] = torch.ones(5)
    with pytest.raises(WrongCheckpoint, match=r"norm\.weight of shape \(5,\) where \(4,\) fits"):
        convert([saved(tmp_path / "c.pth", state)], "mednext")
    broken = random_state(nnunet(residual=False))
    broken = {name: x for name, x in broken.items() if "stages.0.0" not in name} | {
        "encoder.stages.0.0.convs.0.all_modules.0.weight": torch.ones(1)
    }
    with pytest.raises(WrongCheckpoint, match=r"hold encoder\.stages\.0\.0\.convs\.0\.conv"):
        convert([saved(tmp_path / "d.pth", broken)], "plain_unet")


def test_a_bundle_begins_a_training(tmp_path):
    """Its plan is whole: what `train --plan` reads is what was written."""
    from medseg.dataset.plan import load_plan, save_plan

    done = convert([write_checkpoint(tmp_path / "c.pth")], "plain_unet")
    save_plan(done.bundle.plan, tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == done.bundle.plan
    assert done.bundle.plan.recipe.schedule == "polynomial"
