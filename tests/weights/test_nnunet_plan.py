"""nnU-Net's plans become ours: axes, spacing, intensities, labels."""

import json
from copy import deepcopy

import pytest
import torch
from forwards import nnunet as forward
from nnunet_files import dataset, plans, write_checkpoint
from published import nnunet, random_state

from medseg.bundle import build_member
from medseg.dataset.normalise import ClipAndScale, UnitRange, ZScore
from medseg.errors import PlanError, WrongCheckpoint
from medseg.weights import convert
from medseg.weights.surroundings import Wishes


def test_all_of_a_plan_comes_from_nnu_net(tmp_path):
    plan = convert([write_checkpoint(tmp_path / "c.pth")], "plain_unet").bundle.plan
    assert plan.dataset == "Dataset999_Small"
    assert (plan.config, plan.orientation) == ("3d_full", "RAS")
    assert plan.spacing_mm == (0.5, 1.0, 3.0), "its arrays are z, y, x"
    assert plan.patch_size == plan.window.patch_size == (24, 16, 8)
    assert plan.window.peak == "voxel"
    assert plan.median_grid == (50, 40, 20)
    assert plan.normalisations == (
        ZScore(inside_nonzero=True),
        ClipAndScale(low=-100, high=300, mean=60, std=20),
    )
    assert [(c.name, c.modality) for c in plan.channels] == [("MRI", "MR"), ("CT", "CT")]
    assert [(x.value, x.name) for x in plan.labels] == [(1, "liver"), (2, "tumour")]
    assert plan.ignored_value == 3
    assert plan.network.kernels[0] == (3, 3, 1)
    assert plan.network.strides[1] == (2, 2, 1)
    assert plan.augment.mirror.axes == (0, 2)
    assert plan.recipe.batch_size == 5, (
        "what a configuration says counts more than what it inherits"
    )
    assert plan.recipe.optimizer == "sgd"
    assert plan.loss.batch_dice
    assert plan.crop_to_nonzero


@pytest.mark.parametrize("arch", ["plain_unet", "resenc_unet"])
@pytest.mark.parametrize("dims", [2, 3])
def test_the_network_sees_what_nnu_net_s_sees(arch, dims, tmp_path):
    done = convert([write_checkpoint(tmp_path / "c.pth", arch, dims)], arch)
    x = torch.randn(1, 2, *(8, 16, 24)[-dims:])
    turn = (0, 1, *reversed(range(2, 2 + dims)))
    state = random_state(nnunet(residual=arch == "resenc_unet", dims=dims))
    ours = build_member(done.bundle)(x.permute(turn)).permute(turn)
    assert (ours - forward(state, x)).abs().max() < 1e-4


def test_a_2d_plan_keeps_the_distance_of_slices(tmp_path):
    plan = convert([write_checkpoint(tmp_path / "c.pth", dims=2)], "plain_unet").bundle.plan
    assert (plan.config, plan.patch_size) == ("2d", (24, 16, 1))
    assert plan.spacing_mm == (0.5, 1.0, 3.0)
    assert plan.augment.mirror.axes == (0, 1)


@pytest.mark.parametrize(
    ("transpose", "files", "axes"),
    [
        ((0, 1, 2), "RAS", "RAS"),
        ((0, 1, 2), "LPS", "LPS"),
        ((1, 0, 2), "RAS", "RSA"),
        ((2, 0, 1), "RAS", "ASR"),
    ],
)
def test_i_j_k_are_its_last_middle_and_first_axis(transpose, files, axes, tmp_path):
    path = write_checkpoint(tmp_path / "c.pth", transpose=transpose)
    plan = convert([path], "plain_unet", Wishes(orientation=files)).bundle.plan
    assert plan.orientation == axes


def test_pictures_hang_on_the_wall(tmp_path):
    facts = plans("plain_unet", 2) | {"image_reader_writer": "NaturalImage2DIO"}
    path = write_checkpoint(tmp_path / "c.pth", dims=2, plans=facts)
    assert convert([path], "plain_unet").bundle.plan.orientation == "LPS"


def test_files_beside_a_checkpoint_count_too(tmp_path):
    model = tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    path = model / "fold_0" / "weights.pth"
    path.parent.mkdir(parents=True)
    torch.save(random_state(nnunet(residual=False)), path)
    (model / "plans.json").write_text(json.dumps(plans("plain_unet")))
    (model / "dataset.json").write_text(json.dumps(dataset()))
    assert convert([path], "plain_unet").bundle.plan.patch_size == (24, 16, 8)
    (model / "plans.json").write_text("{")
    with pytest.raises(WrongCheckpoint, match=r"JSON in .*plans\.json can be converted"):
        convert([path], "plain_unet")


def test_plans_of_old_releases_describe_no_architecture(tmp_path):
    facts = plans("plain_unet")
    del facts["configurations"]["base"]["architecture"]
    path = write_checkpoint(tmp_path / "c.pth", plans=facts)
    assert convert([path], "plain_unet").bundle.plan.patch_size == (24, 16, 8)


def altered(**settings):
    facts = deepcopy(plans("plain_unet"))
    facts["configurations"]["base"].update(settings)
    return facts


def with_architecture(**arguments):
    facts = deepcopy(plans("plain_unet"))
    facts["configurations"]["base"]["architecture"]["arch_kwargs"].update(arguments)
    return facts


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (altered(normalization_schemes=["OwnNormalization"] * 2), "OwnNormalization"),
        (altered(previous_stage="3d_lowres"), "cascade"),
        (altered(inherits_from="nowhere"), "no 'nowhere'"),
        (with_architecture(norm_op="torch.nn.BatchNorm3d"), "BatchNorm3d"),
        (with_architecture(norm_op_kwargs={"eps": 1e-3}), "epsilon of 1e-5"),
    ],
)
def test_what_has_no_place_in_a_plan_is_refused(facts, sentence, tmp_path):
    path = write_checkpoint(tmp_path / "c.pth", plans=facts)
    with pytest.raises(WrongCheckpoint, match=sentence):
        convert([path], "plain_unet")


NESTED = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "inner": 3, "ignore": 4}


def test_regions_are_those_of_nnu_net(tmp_path):
    facts = dataset() | {"labels": NESTED, "regions_class_order": [1, 2, 3]}
    bundle = convert([write_checkpoint(tmp_path / "c.pth", dataset=facts)], "plain_unet").bundle
    assert bundle.plan.judged == {"whole": (1, 2, 3), "core": (2, 3), "inner": (3,)}
    assert [region.painted for region in bundle.plan.regions] == [1, 2, 3]
    assert (bundle.plan.network.classes, bundle.plan.loss.kind) == (3, "dice_bce")
    assert bundle.plan.ignored_value == 4


def test_regions_without_an_order_are_refused(tmp_path):
    facts = dataset() | {"labels": NESTED}
    with pytest.raises(WrongCheckpoint, match="regions that overlap, without it"):
        convert([write_checkpoint(tmp_path / "c.pth", dataset=facts)], "plain_unet")


def test_networks_that_see_more_than_the_channels_are_refused(tmp_path):
    facts = dataset() | {"channel_names": {"0": "CT"}}
    with pytest.raises(PlanError, match="each channel has one normalisation"):
        convert([write_checkpoint(tmp_path / "c.pth", dataset=facts)], "plain_unet")


def test_other_intensities(tmp_path):
    schemes = ["NoNormalization", "RGBTo01Normalization"]
    path = write_checkpoint(tmp_path / "c.pth", plans=altered(normalization_schemes=schemes))
    plan = convert([path], "plain_unet").bundle.plan
    assert plan.normalisations == (UnitRange(scale=1), UnitRange(scale=255))
