"""The plan around an nnU-Net: spacing, patch, intensities, labels and axes, from its own plans.

Plans and `dataset.json` lie in the checkpoint (`init_args`) or beside it, as nnU-Net v2 writes them
(releases 2.0 to 2.8; before 2.3 the network was described without `architecture`).

nnU-Net reads an image of axes x, y, z as an array z, y, x, and `transpose_forward` orders these so
that the coarsest axis is first. Here the coarsest is K: I, J, K are nnU-Net's last, middle and
first axis, and weights are turned accordingly.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.dataset.decathlon import labels_in, regions_in
from medseg.dataset.description import Channel
from medseg.dataset.explain import Reason
from medseg.dataset.frame import Config
from medseg.dataset.normalise import ClipAndScale, MinMax, UnitRange, Way, ZScore
from medseg.dataset.plan import Plan
from medseg.errors import WrongCheckpoint
from medseg.specs import LossSpec, NetworkSpec
from medseg.volume.labels import Label, Labels
from medseg.volume.regions import IGNORED_NAME
from medseg.weights.reading import Checkpoint
from medseg.weights.surroundings import checked_plan, training_settings

_PICTURE_READERS = ("NaturalImage2DIO",)
"""Readers of pictures, whose x runs to the left and y to the back, as a picture hangs."""

_MODALITIES = {"CT": "CT", "MR": "MR", "MRI": "MR", "PET": "PT", "R": "RGB", "G": "RGB", "B": "RGB"}

_KINDS = {"PlainConvUNet": "plain_unet", "ResidualEncoderUNet": "resenc_unet"}


@dataclass(frozen=True)
class NNUNet:
    """What nnU-Net wrote about a training.

    Attributes:
        plans: `plans.json`.
        dataset: `dataset.json`.
        configuration: Name of the configuration in the plans.
        mirror_axes: Axes of its arrays along which prediction may mirror.
    """

    plans: Mapping[str, Any]
    dataset: Mapping[str, Any]
    configuration: str
    mirror_axes: tuple[int, ...] | None = None


def find_nnunet(checkpoint: Checkpoint) -> NNUNet | None:
    """What nnU-Net wrote beside the checkpoint or into it; None if it is not nnU-Net's.

    Files beside it count first, as they do for nnU-Net's own prediction.

    Raises:
        WrongCheckpoint: If files beside it cannot be read.
    """
    given = checkpoint.facts.get("init_args")
    given = given if isinstance(given, Mapping) else {}
    mirrors = checkpoint.facts.get("inference_allowed_mirroring_axes")
    axes = None if mirrors is None else tuple(int(axis) for axis in mirrors)
    for folder in list(checkpoint.path.resolve().parents)[:2]:
        plans, dataset = folder / "plans.json", folder / "dataset.json"
        found = re.search(r"__(2d|3d_\w+)$", folder.name)
        name = given.get("configuration") or (found[1] if found else None)
        if plans.is_file() and dataset.is_file() and name:
            return NNUNet(read_json(plans), read_json(dataset), str(name), axes)
    inside, facts = given.get("plans"), given.get("dataset_json")
    if isinstance(inside, Mapping) and isinstance(facts, Mapping):
        return NNUNet(inside, facts, str(given.get("configuration")), axes)
    return None


def kind_of(nnunet: NNUNet) -> str:
    """Which of our kinds of network nnU-Net trained.

    Raises:
        WrongCheckpoint: If none of them.
    """
    name = _class_name(_configuration(nnunet.plans, nnunet.configuration))
    if name not in _KINDS:
        raise _unlike(f"networks {' and '.join(_KINDS)}", name or "a network without a name")
    return _KINDS[name]


def nnunet_plan(nnunet: NNUNet, spec: NetworkSpec, orientation: str | None) -> Plan:
    """The plan of a network that nnU-Net trained.

    Args:
        nnunet: What nnU-Net wrote.
        spec: The network, its axes I, J, K.
        orientation: Where x, y, z of the training files point to; nnU-Net does not say. None: each
            case is seen as it lies in its file, as nnU-Net sees it.

    Raises:
        WrongCheckpoint: If nnU-Net did something that has no place in a plan.
        PlanError: If network and plans do not fit together.
    """
    settings = _configuration(nnunet.plans, nnunet.configuration)
    _require_known_network(settings, spec)
    _require_own_ways(nnunet.plans, settings)
    is_2d = spec.dims == 2
    patch = _turned(settings["patch_size"], fill=1 if is_2d else None)
    spacing = _turned(settings["spacing"], fill=_slice_spacing(nnunet) if is_2d else None)
    median = settings.get("median_image_size_in_voxels") or settings["patch_size"]
    axes = nnunet.mirror_axes or ()
    training = training_settings(
        spec,
        (int(patch[0]), int(patch[1]), int(patch[2])),
        int(settings.get("batch_size", 2)),
        mirror_axes=tuple(spec.dims - 1 - axis for axis in axes),
    )
    training["window"] = training["window"].model_copy(update={"peak": "voxel"})
    structures = _structures(nnunet.dataset)
    training["loss"] = LossSpec(
        kind="dice_bce" if "regions" in structures else "dice_ce",
        batch_dice=bool(settings.get("batch_dice", False)),
    )
    return checked_plan(
        {
            "dataset": str(nnunet.plans.get("dataset_name") or "nnU-Net"),
            "config": "2d" if is_2d else _resolution(nnunet.configuration),
            "channels": _channels(nnunet.dataset),
            **structures,
            "ignored_value": nnunet.dataset.get("labels", {}).get(IGNORED_NAME),
            "normalisations": _normalisations(nnunet, settings),
            "orientation": _orientation(nnunet, orientation or "RAS"),
            "keeps_axes": orientation is None and not _turns_cases(nnunet),
            "conventions": "nnunet",
            "spacing_mm": spacing,
            "crop_to_nonzero": True,
            "patch_size": patch,
            "network": spec,
            "median_grid": _turned([round(n) for n in median], fill=1 if is_2d else None),
            "reasons": (
                Reason(
                    what="everything",
                    value=f"nnU-Net, {nnunet.configuration}",
                    why="As nnU-Net's own plans say.",
                ),
            ),
            **training,
        }
    )


def _configuration(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Settings of a configuration, with what it inherits."""
    configurations = plans.get("configurations", {})
    settings: dict[str, Any] = {}
    seen: list[str] = []
    while name:
        if name not in configurations or name in seen:
            raise _unlike("configurations that its plans describe", f"no {name!r}")
        seen.append(name)
        settings = {**configurations[name], **settings}
        name = configurations[name].get("inherits_from", "")
    if settings.get("previous_stage"):
        raise _unlike("networks that see the image only", "a cascade's second stage")
    return settings


def _class_name(settings: Mapping[str, Any]) -> str:
    """Name of the network's class; before 2.3 it stood alone."""
    architecture = settings.get("architecture")
    if isinstance(architecture, Mapping):
        return str(architecture.get("network_class_name", "")).rpartition(".")[2]
    return str(settings.get("UNet_class_name", ""))


def _require_known_network(settings: Mapping[str, Any], spec: NetworkSpec) -> None:
    """Pass if the settings that no tensor shows are those of our networks."""
    name = _class_name(settings)
    if name and _KINDS.get(name) != spec.kind:
        raise _unlike(f"networks {' and '.join(_KINDS)}", name)
    architecture = settings.get("architecture")
    if not isinstance(architecture, Mapping):
        return
    arguments = architecture.get("arch_kwargs", {})
    norm, act = str(arguments.get("norm_op")), str(arguments.get("nonlin"))
    norm_arguments = arguments.get("norm_op_kwargs") or {}
    if "InstanceNorm" not in norm or "LeakyReLU" not in act:
        raise _unlike("instance normalisation and LeakyReLU", f"{norm} and {act}")
    if float(norm_arguments.get("eps", 1e-5)) != 1e-5:
        raise _unlike("an epsilon of 1e-5", str(norm_arguments))
    slope = float((arguments.get("nonlin_kwargs") or {}).get("negative_slope", 0.01))
    if slope != 0.01:
        raise _unlike("a LeakyReLU of slope 0.01", f"a slope of {slope:g}")


def _require_own_ways(plans: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Pass if images and logits are resampled as nnU-Net's own plans have it."""
    known = {"preprocessor_name": "DefaultPreprocessor"}
    for what, order in (("data", 3), ("probabilities", 1)):
        key = f"resampling_fn_{what}"
        known[key] = "resample_data_or_seg_to_shape"
        given = settings.get(f"{key}_kwargs") or {}
        wanted = {"is_seg": False, "order": order, "order_z": 0, "force_separate_z": None}
        unlike = {name: value for name, value in given.items() if wanted.get(name, ...) != value}
        if unlike:
            raise _unlike(f"resampling of {what} by {wanted}", str(unlike))
    for key, name in known.items():
        if settings.get(key, name) != name:
            raise _unlike(f"{name} as {key}", str(settings[key]))
    if plans.get("label_manager", "LabelManager") != "LabelManager":
        raise _unlike("its own LabelManager", str(plans["label_manager"]))


def _channels(dataset: Mapping[str, Any]) -> tuple[Channel, ...]:
    names = dataset.get("channel_names") or dataset.get("modality") or {}
    ordered = [str(names[key]) for key in sorted(names, key=int)]
    return tuple(
        Channel(name=(name or "image")[:64], modality=_MODALITIES.get(name.upper(), ""))
        for name in ordered
    )


def _resolution(configuration: str) -> Config:
    return "3d_low" if "lowres" in configuration else "3d_full"


def _structures(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Labels, and the regions that they make up where nnU-Net was trained on these."""
    named = {
        name: value for name, value in dataset.get("labels", {}).items() if name != IGNORED_NAME
    }
    if not any(isinstance(value, list | tuple) and len(value) > 1 for value in named.values()):
        return {"labels": _labels(named)}
    regions = regions_in(dataset)
    if not regions:
        raise _unlike("regions with regions_class_order", "regions that overlap, without it")
    return {"labels": labels_in(dataset), "regions": regions}


def _labels(named: Mapping[str, Any]) -> Labels:
    alone = {name: value[0] if isinstance(value, list) else value for name, value in named.items()}
    values = sorted((int(value), str(name)) for name, value in alone.items())
    return tuple(Label(value=value, name=name[:64]) for value, name in values if value)


def _normalisations(nnunet: NNUNet, settings: Mapping[str, Any]) -> tuple[Way, ...]:
    schemes = settings["normalization_schemes"]
    masks = settings.get("use_mask_for_norm") or [False] * len(schemes)
    known = nnunet.plans.get("foreground_intensity_properties_per_channel") or nnunet.plans.get(
        "foreground_intensity_properties_by_modality", {}
    )
    ways: list[Way] = []
    for channel, (scheme, inside) in enumerate(zip(schemes, masks, strict=True)):
        match scheme:
            case "ZScoreNormalization":
                ways.append(ZScore(inside_nonzero=bool(inside)))
            case "CTNormalization":
                facts = known[str(channel)]
                ways.append(
                    ClipAndScale(
                        low=facts["percentile_00_5"],
                        high=facts["percentile_99_5"],
                        mean=facts["mean"],
                        std=facts["std"],
                    )
                )
            case "RGBTo01Normalization":
                ways.append(UnitRange(scale=255))
            case "RescaleTo01Normalization":
                ways.append(MinMax())
            case "NoNormalization":
                ways.append(UnitRange(scale=1))
            case _:
                raise _unlike("z-scores, CT, RGB, rescaled or untouched intensities", str(scheme))
    return tuple(ways)


def _orientation(nnunet: NNUNet, orientation: str) -> str:
    """Letters of I, J, K: nnU-Net's last, middle and first axis."""
    if nnunet.plans.get("image_reader_writer") in _PICTURE_READERS:
        orientation = "LPS"
    order = [int(axis) for axis in nnunet.plans.get("transpose_forward", (0, 1, 2))]
    arrays = orientation[::-1]
    return "".join(arrays[axis] for axis in reversed(order))


def _turns_cases(nnunet: NNUNet) -> bool:
    """Whether nnU-Net itself brings each case to one orientation (RAS) when it reads it."""
    return str(nnunet.plans.get("image_reader_writer", "")).endswith("WithReorient")


def _slice_spacing(nnunet: NNUNet) -> float:
    known = nnunet.plans.get("original_median_spacing_after_transp")
    return float(known[0]) if known else 1.0


def _turned(axes: Any, *, fill: float | None) -> tuple[Any, ...]:
    """Numbers along nnU-Net's axes, along I, J, K; a 2D one is filled up."""
    turned = tuple(reversed(list(axes)))
    return (*turned[:2], fill) if fill is not None else turned


def read_json(path: Path) -> Mapping[str, Any]:
    """A table of JSON that nnU-Net wrote; empty where it is none.

    Raises:
        WrongCheckpoint: If it is no JSON.
    """
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise _unlike(f"JSON in {path}", str(error)) from error
    return content if isinstance(content, Mapping) else {}


def _unlike(known: str, received: str) -> WrongCheckpoint:
    return WrongCheckpoint(
        f"Of nnU-Net's settings, {known} can be converted.",
        received=received,
        cure="Give --plan to say how cases are prepared, or use nnU-Net for this network.",
    )
