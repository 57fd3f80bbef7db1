"""A model's folder becomes one bundle: folds, checkpoints, facts, and what is refused."""

import json

import numpy as np
import pytest
import torch
from nnunet_files import dataset, plans, write_checkpoint

from medseg.bundle import build_members, load_bundle, model_card, save_bundle
from medseg.dataset.normalise import MinMax
from medseg.errors import MissingPath, UnreadableFile, WrongCheckpoint
from medseg.weights.nnunet_folder import find_model, import_nnunet

MODEL = "nnUNetTrainer__nnUNetPlans__3d_fullres"


def write_model(tmp_path, *, folds=("0", "1"), arch="plain_unet", facts=None, kept="final"):
    facts = facts or plans(arch)
    folder = tmp_path / "results" / "Dataset999_Small" / MODEL
    for n, fold in enumerate(folds):
        path = folder / f"fold_{fold}" / f"checkpoint_{kept}.pth"
        write_checkpoint(path, arch, plans=facts, seed=n)
    (folder / "plans.json").write_text(json.dumps(facts))
    (folder / "dataset.json").write_text(json.dumps(dataset()))
    return folder


@pytest.mark.parametrize("arch", ["plain_unet", "resenc_unet"])
def test_all_numbered_folds_are_members_of_one_bundle(arch, tmp_path):
    folder = write_model(tmp_path, folds=("0", "1", "all"), arch=arch)
    bundle = import_nnunet(folder).bundle
    assert bundle.plan.network.kind == arch
    assert len(bundle.members) == 2
    assert bundle.plan.conventions == "nnunet"
    assert bundle.plan.keeps_axes
    saved = save_bundle(bundle, tmp_path / "bundle")
    back = load_bundle(tmp_path / "bundle")
    assert back.plan == bundle.plan
    first, second = build_members(back.configurations[0])
    assert not torch.equal(next(first.parameters()), next(second.parameters()))
    assert "Trained by nnU-Net v2" in model_card(saved)


def test_folds_and_checkpoints_can_be_chosen(tmp_path):
    folder = write_model(tmp_path, folds=("0", "2", "all"))
    assert find_model(folder, folds=["2"]).folds == ("2",)
    assert find_model(folder, folds=["all"]).folds == ("all",)
    with pytest.raises(MissingPath, match=r"folds 0, 2, all with it in .*, not 1"):
        find_model(folder, folds=["1"])
    with pytest.raises(MissingPath, match=r"checkpoint_best\.pth"):
        find_model(folder, kept="best")


def test_a_model_that_was_trained_on_all_cases_only(tmp_path):
    assert find_model(write_model(tmp_path, folds=("all",))).folds == ("all",)


def test_a_folder_above_tells_its_models(tmp_path):
    folder = write_model(tmp_path)
    with pytest.raises(MissingPath, match=rf"Name one of its models: {MODEL}"):
        find_model(folder.parent)


def test_orientation_brings_cases_there(tmp_path):
    plan = import_nnunet(write_model(tmp_path), orientation="LPS").bundle.plan
    assert (plan.orientation, plan.keeps_axes) == ("LPS", False)


def test_a_reader_that_turns_cases_itself_is_heard(tmp_path):
    facts = plans("plain_unet") | {"image_reader_writer": "NibabelIOWithReorient"}
    plan = import_nnunet(write_model(tmp_path, facts=facts)).bundle.plan
    assert (plan.orientation, plan.keeps_axes) == ("RAS", False)


def test_figures_are_those_of_its_own_validation(tmp_path):
    folder = write_model(tmp_path)
    for fold, dice in (("0", (0.8, 0.5)), ("1", (0.9, float("nan")))):
        scores = {"1": {"Dice": dice[0]}, "2": {"Dice": dice[1]}}
        case = {"prediction_file": f"/there/case_{fold}.nii.gz", "metrics": scores}
        (folder / f"fold_{fold}" / "validation").mkdir()
        text = json.dumps({"metric_per_case": [case]})
        (folder / f"fold_{fold}" / "validation" / "summary.json").write_text(text)
    bundle = import_nnunet(folder).bundle
    assert bundle.metrics["dice"] == pytest.approx({"liver": 0.85, "tumour": 0.5})
    assert bundle.provenance.validation_cases == ("case_0", "case_1")
    (folder / "fold_1" / "validation" / "summary.json").unlink()
    assert "dice" not in import_nnunet(folder).bundle.metrics, "all members, or nothing is said"


def test_facts_of_the_training_are_told_as_what_they_are(tmp_path):
    folder = write_model(tmp_path, folds=("0",))
    path = folder / "fold_0" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    content["logging"]["ema_fg_dice"] = [np.float64(0.25), np.float64(0.625)]
    torch.save(content, path)
    said = " ".join(import_nnunet(folder).bundle.metrics["known_of_training"])
    assert "Epochs of each member: 1000" in said
    assert "moving mean at the end: 0.6250; it is no Dice of whole cases" in said


def test_a_network_that_its_trainer_changed_is_refused(tmp_path):
    folder = write_model(tmp_path, folds=("0",))
    path = folder / "fold_0" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    width = content["network_weights"]["encoder.stages.0.0.convs.0.norm.weight"]
    content["network_weights"]["encoder.stages.0.0.convs.0.norm.running_mean"] = width.clone()
    content["trainer_name"] = "nnUNetTrainerBN"
    torch.save(content, path)
    with pytest.raises(WrongCheckpoint, match="running_mean, by nnUNetTrainerBN"):
        import_nnunet(folder)


def test_a_damaged_checkpoint_and_other_networks_are_told(tmp_path):
    folder = write_model(tmp_path, folds=("0",))
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(b"")
    with pytest.raises(UnreadableFile, match="an empty file"):
        import_nnunet(folder)
    facts = plans("plain_unet")
    settings = facts["configurations"]["base"]["architecture"]
    settings["network_class_name"] = "somewhere.Primus"
    (folder / "plans.json").write_text(json.dumps(facts))
    with pytest.raises(WrongCheckpoint, match="Primus"):
        import_nnunet(folder)


def old(arch):
    """Plans before 2.3: the network described by numbers of their own."""
    facts = plans(arch)
    del facts["configurations"]["base"]["architecture"]
    name = "ResidualEncoderUNet" if arch == "resenc_unet" else "PlainConvUNet"
    facts["configurations"]["base"]["UNet_class_name"] = name
    return facts


@pytest.mark.parametrize("arch", ["plain_unet", "resenc_unet"])
def test_plans_before_architecture_name_the_class(arch, tmp_path):
    bundle = import_nnunet(write_model(tmp_path, arch=arch, facts=old(arch))).bundle
    assert bundle.plan.network.kind == arch


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"resampling_fn_data": "resample_torch_fornnunet"}, "resample_torch_fornnunet"),
        ({"resampling_fn_probabilities_kwargs": {"order": 3}}, "'order': 3"),
        ({"preprocessor_name": "OwnPreprocessor"}, "OwnPreprocessor"),
        ({"previous_stage": "3d_lowres"}, "cascade"),
    ],
)
def test_other_ways_of_preparing_are_refused(settings, sentence, tmp_path):
    facts = plans("plain_unet")
    facts["configurations"]["base"].update(settings)
    with pytest.raises(WrongCheckpoint, match=sentence):
        import_nnunet(write_model(tmp_path, folds=("0",), facts=facts))


def test_its_own_resampling_is_known_and_rescaling_too(tmp_path):
    facts = plans("plain_unet")
    data = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    facts["configurations"]["base"].update(
        resampling_fn_data="resample_data_or_seg_to_shape",
        resampling_fn_data_kwargs=data,
        resampling_fn_probabilities_kwargs=data | {"order": 1},
        preprocessor_name="DefaultPreprocessor",
        normalization_schemes=["RescaleTo01Normalization"] * 2,
    )
    plan = import_nnunet(write_model(tmp_path, folds=("0",), facts=facts)).bundle.plan
    assert plan.normalisations == (MinMax(), MinMax())
