"""What a foreign runtime needs to repeat a prediction: `pipeline.json`, and a script."""

import json
from pathlib import Path
from typing import Any

from medseg.bundle import Bundle
from medseg.dataset.preprocess import ANISOTROPIC
from medseg.files import write_text

PIPELINE_FILE, SCRIPT_FILE = "pipeline.json", "predict.py"

SCRIPT = Path(__file__).with_name("standalone.py")
"""The reference that is copied beside ONNX files."""

STEPS = (
    "Turn the image so that its axes I, J, K point to `orientation`.",
    "Cut it to the box of voxels that are not 0 in any channel, if `crop_to_nonzero`.",
    "Normalise each channel by its entry of `normalisations`.",
    "Resample to `spacing_mm` (null: the axis keeps its own) over the same field of view; a "
    "spacing within 0.5 % of it is left alone. Cubic B-splines after a Gaussian where voxels get "
    "larger; if slices are `thick_from` times as thick as wide or thicker, linear across them.",
    "Cover it with windows of `patch_size` that overlap by at least `overlap`, zeros around an "
    "image that is smaller; `slices` says whether networks see (B, C, I, J) without K.",
    "Average the logits of all `networks` and windows, with a Gaussian of `sigma_share` of a "
    "window's edge as the weight of each voxel of a window.",
    "Interpolate the logits linearly to the grid before resampling.",
    "Take the class of the largest logit: class n + 1 is the n-th of `class_values`, 0 is "
    "background. With `regions`, logit n above 0 paints the n-th region's value over those before.",
    "Do the steps of `postprocessing` in their order. Parts are connected through faces.",
    "Put the mask back into the box and turn it to the axes of the file.",
)
"""What is done, in words."""


def pipeline_of(bundle: Bundle) -> dict[str, Any]:
    """What is done before and after the networks of a bundle, as JSON holds it.

    Args:
        bundle: One of a single configuration; of others, the steps say less than is done.
    """
    plan = bundle.plan
    spacing: list[float | None] = [*plan.spacing_mm]
    if plan.config == "2d":
        spacing[2] = None
    values = {label.name: label.value for label in plan.labels}
    return {
        "format": 1,
        "steps": STEPS,
        "is_complete": is_repeatable(bundle),
        "channels": [channel.model_dump() for channel in plan.channels],
        "orientation": plan.orientation,
        "crop_to_nonzero": plan.crop_to_nonzero,
        "normalisations": [one.model_dump() for one in plan.normalisations],
        "spacing_mm": spacing,
        "thick_from": ANISOTROPIC,
        "window": plan.window.model_dump() | {"slices": plan.network.dims == 2},
        "networks": [f"{n}.onnx" for n in range(len(bundle.members))],
        "class_values": list(values.values()),
        "labels": values,
        "regions": [region.model_dump() for region in plan.regions],
        "postprocessing": [
            {**step.model_dump(), "value": values[step.structure]}
            for step in bundle.postprocessing
            if step.structure in values
        ],
    }


def is_repeatable(bundle: Bundle) -> bool:
    """Whether the steps say all that is done.

    They do not for a cascade, several configurations, or an nnU-Net that keeps its conventions.
    """
    plan = bundle.plan
    return (
        len(bundle.configurations) == 1
        and bundle.configurations[0].first_stage is None
        and plan.conventions == "medseg"
        and not plan.keeps_axes
    )


def write_pipeline(bundle: Bundle, folder: Path, *, script: bool) -> None:
    """Write `pipeline.json`, and the script if the steps say all that is done.

    Args:
        bundle: What is described.
        folder: Where to.
        script: Whether the script is wanted; it runs ONNX files.
    """
    write_text(folder / PIPELINE_FILE, json.dumps(pipeline_of(bundle), indent=1) + "\n")
    if script and is_repeatable(bundle):
        write_text(folder / SCRIPT_FILE, SCRIPT.read_text(encoding="utf-8"))
