"""A bundle of a `plain_unet` as a model folder that nnU-Net 2.8.1 predicts with.

The way of `medseg import-nnunet` backwards: nnunet_import.py gets trained weights of several
structures and folds without hours of training.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medseg.bundle import Bundle
from medseg.dataset.plan import Plan
from medseg.specs import PlainUNetSpec
from medseg.weights.dynamic import plain_names

RESAMPLING = "resample_data_or_seg_to_shape"


def write_model(bundle: Bundle, folder: Path, members: int) -> Path:
    """Write the first members as folds; the model's folder."""
    model = folder / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    spec = bundle.plan.network
    assert isinstance(spec, PlainUNetSpec)
    plans, dataset = plans_of(bundle.plan, spec), dataset_of(bundle.plan)
    facts = {"configuration": "3d_fullres", "plans": plans, "dataset_json": dataset}
    for n, member in enumerate(bundle.members[:members]):
        path = model / f"fold_{n}" / "checkpoint_final.pth"
        path.parent.mkdir(parents=True)
        content = {
            "network_weights": theirs(member, spec),
            "trainer_name": "nnUNetTrainer",
            "init_args": facts,
            "inference_allowed_mirroring_axes": (0, 1, 2),
        }
        torch.save(content, path)
    (model / "plans.json").write_text(json.dumps(plans, indent=1))
    (model / "dataset.json").write_text(json.dumps(dataset, indent=1))
    return model


def theirs(member: Any, spec: PlainUNetSpec) -> dict[str, Tensor]:
    """Weights by the names of PlainConvUNet, z first, with the copies that it keeps."""
    modules = plain_names(spec, {}).modules
    state: dict[str, Tensor] = {}
    for name, tensor in member.items():
        ours = max((m for m in modules if name.startswith(f"{m}.")), key=len)
        turn = (0, 1, 4, 3, 2)[: tensor.ndim]
        state[modules[ours] + name[len(ours) :]] = tensor.permute(turn).contiguous()
    for name in list(state):
        for n, part in enumerate((".conv.", ".norm.")):
            if part in name:
                state[name.replace(part, f".all_modules.{n}.")] = state[name]
    copies = {f"decoder.{name}": state[name] for name in state if name.startswith("encoder.")}
    return state | copies


def plans_of(plan: Plan, spec: PlainUNetSpec) -> dict[str, Any]:
    """nnU-Net's plans of a z-scored, isotropic plan."""
    kwargs = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    settings = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(reversed(plan.patch_size)),
        "spacing": list(reversed(plan.spacing_mm)),
        "normalization_schemes": ["ZScoreNormalization"] * len(plan.channels),
        "use_mask_for_norm": [False] * len(plan.channels),
        "resampling_fn_data": RESAMPLING,
        "resampling_fn_data_kwargs": kwargs,
        "resampling_fn_seg": RESAMPLING,
        "resampling_fn_seg_kwargs": kwargs | {"is_seg": True, "order": 1},
        "resampling_fn_probabilities": RESAMPLING,
        "resampling_fn_probabilities_kwargs": kwargs | {"order": 1},
        "batch_dice": False,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": len(spec.features),
                "features_per_stage": list(spec.features),
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [kernel[::-1] for kernel in spec.kernels],
                "strides": [stride[::-1] for stride in spec.strides],
                "n_conv_per_stage": list(spec.encoder_convs),
                "n_conv_per_stage_decoder": list(spec.decoder_convs),
                "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    return {
        "dataset_name": "Dataset004_Bundle",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {str(n): {} for n in range(9)},
        "configurations": {"3d_fullres": settings},
    }


def dataset_of(plan: Plan) -> dict[str, Any]:
    """nnU-Net's dataset.json."""
    return {
        "channel_names": {str(n): channel.name for n, channel in enumerate(plan.channels)},
        "labels": {"background": 0, **{label.name: label.value for label in plan.labels}},
        "file_ending": ".nii.gz",
    }
