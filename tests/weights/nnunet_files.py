"""What nnU-Net v2 writes: a checkpoint with its plans, for the small networks of `published`."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from published import KERNELS, STRIDES, WIDTHS, nnunet, random_state


def plans(arch: str, dims: int = 3, transpose: tuple[int, int, int] = (0, 1, 2)) -> dict[str, Any]:
    """`plans.json`: patches of (8, 16, 24), or (16, 24) in 2D, in the order of its arrays."""
    residual = arch == "resenc_unet"
    name = "ResidualEncoderUNet" if residual else "PlainConvUNet"
    arguments = {
        "n_stages": 3,
        "features_per_stage": list(WIDTHS),
        "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
        "kernel_sizes": [list(kernel[-dims:]) for kernel in KERNELS],
        "strides": [[1] * dims, *(list(stride[-dims:]) for stride in STRIDES)],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    settings = {
        "batch_size": 3,
        "patch_size": [8, 16, 24][-dims:],
        "median_image_size_in_voxels": [20.0, 40.0, 50.0][-dims:],
        "spacing": [3.0, 1.0, 0.5][-dims:],
        "normalization_schemes": ["ZScoreNormalization", "CTNormalization"],
        "use_mask_for_norm": [True, False],
        "batch_dice": True,
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
            "arch_kwargs": arguments,
        },
    }
    child = {"inherits_from": "base", "batch_size": 5}
    foreground = {"percentile_00_5": -100.0, "percentile_99_5": 300.0, "mean": 60.0, "std": 20.0}
    return {
        "dataset_name": "Dataset999_Small",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": list(transpose),
        "original_median_spacing_after_transp": [3.0, 1.0, 0.5],
        "configurations": {"base": settings, "3d_fullres" if dims == 3 else "2d": child},
        "foreground_intensity_properties_per_channel": {"0": foreground, "1": foreground},
    }


def dataset() -> dict[str, Any]:
    """`dataset.json`."""
    return {
        "channel_names": {"0": "MRI", "1": "CT"},
        "labels": {"background": 0, "liver": 1, "tumour": 2, "ignore": 3},
        "file_ending": ".nii.gz",
    }


def write_checkpoint(path: Path, arch: str = "plain_unet", dims: int = 3, **changes: Any) -> Path:
    """As nnU-Net's trainer writes it, numpy's numbers and optimizer included.

    `changes` replace `plans`, `dataset`, `seed` of the weights, or `transpose`.
    """
    state = random_state(nnunet(residual=arch == "resenc_unet", dims=dims), changes.get("seed", 0))
    facts = {
        "plans": changes.get("plans", plans(arch, dims, changes.get("transpose", (0, 1, 2)))),
        "configuration": "3d_fullres" if dims == 3 else "2d",
        "fold": 0,
        "dataset_json": changes.get("dataset", dataset()),
        "device": torch.device("cpu"),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    log = {"mean_fg_dice": [np.float64(0.5), np.float32(0.6)], "epoch_end_timestamps": [1.0]}
    torch.save(
        {
            "network_weights": state,
            "optimizer_state": {"state": {0: {"momentum_buffer": torch.ones(2)}}},
            "grad_scaler_state": None,
            "logging": log,
            "_best_ema": np.float64(0.4),
            "current_epoch": 1000,
            "init_args": facts,
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": (0, dims - 1),
        },
        path,
    )
    return path
