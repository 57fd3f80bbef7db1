"""What attention gates let through, as images in a case's own space."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from medseg.bundle import Bundle
from medseg.errors import BundleError
from medseg.inference.engine import Engine
from medseg.inference.window import placed, windowed
from medseg.progress import SILENT, Progress
from medseg.space.resample import resample_array
from medseg.specs import WindowSpec
from medseg.types import FloatArray
from medseg.volume.geometry import Geometry
from medseg.volume.volume import Volume


class Attentive(Protocol):
    """Whoever tells what gates let through for a batch: an `Ensemble`.

    Attributes:
        opinions: How many there are on each voxel; their mean counts.
    """

    opinions: int

    def attention(self, batch: FloatArray) -> Iterator[FloatArray]:
        """Patches (B, C, *patch) -> maps (B, M, *patch), one opinion after the other."""
        ...


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """What each gate let through of each voxel of a case.

    Attributes:
        names: Of the gates.
        array: Between 0 (nothing) and 1 (all), float32, shape (M, I, J, K), on the network's grid.
        geometry: Where that grid lies.
        target: The case's own grid.
    """

    names: tuple[str, ...]
    array: FloatArray
    geometry: Geometry
    target: Geometry

    def volumes(self) -> Iterator[tuple[str, Volume]]:
        """Name and map of each gate on the case's own grid, one at a time; 0 outside the network's.

        Values are interpolated linearly, as the votes for the mask are.
        """
        for name, values in zip(self.names, self.array, strict=True):
            on_case = resample_array(
                values[np.newaxis],
                self.geometry,
                self.target,
                interpolation="linear",
                outside=0.0,
                anti_alias=False,
            )
            yield name, Volume(on_case, self.target, (name,))


def gates_of(engine: Engine, bundle: Bundle) -> tuple[str, ...]:
    """Names of the attention gates that an engine can look into.

    Args:
        engine: What runs the network.
        bundle: The network's.

    Raises:
        BundleError: If there are none, or the engine cannot look inside.
    """
    if engine.gate_names:
        return engine.gate_names
    if engine.name != "torch":
        raise BundleError(
            "Attention maps are what torch computes inside a network.",
            received=f"--attention for {bundle.name}, run by {engine.name}",
            cure="Say --engine torch, or leave --attention out.",
        )
    raise BundleError(
        "Attention maps show what attention gates let through; of all kinds of network, "
        "attention_unet has such gates.",
        received=f"--attention for {bundle.name}, a network of kind {bundle.plan.network.kind} "
        "without gates",
        cure="Leave --attention out, or train one that has them: "
        "medseg train DATASET --arch attention_unet.",
    )


def sweep_attention(
    image: FloatArray,
    network: Attentive,
    spec: WindowSpec,
    *,
    count: int,
    progress: Progress = SILENT,
) -> FloatArray:
    """What the gates let through of a whole image, blended as `window.sweep` blends probabilities.

    Args:
        image: Normalised intensities, float32, shape (C, I, J, K).
        network: Looks at batches of windows.
        spec: Window, overlap and the width of the Gaussian.
        count: Number of maps M.
        progress: Told after each batch of windows.

    Returns:
        The mean over windows and opinions, float32, shape (M, I, J, K).
    """
    total = np.zeros((count, *image.shape[1:]), np.float32)
    for batch, windows in windowed(image, spec, name="attention", progress=progress):
        for maps in network.attention(batch):
            for values, window in zip(maps, windows, strict=True):
                solid = values[..., np.newaxis] if values.ndim == 3 else values
                place = placed(window, solid.shape[1:], image.shape[1:])
                seen = solid[(slice(None), *place.within)]
                total[(slice(None), *place.inside)] += seen * place.shares / network.opinions
    return total
