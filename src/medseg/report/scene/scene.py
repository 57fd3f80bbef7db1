"""What is shown of a case in space: surfaces of its masks, how far these are apart, its image."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from medseg.errors import EvaluationError, InvalidGeometry
from medseg.progress import SILENT, Progress
from medseg.report.scene.mesh import (
    MOST_STRUCTURES,
    MOST_TRIANGLES,
    Surface,
    decimated,
    distances_mm,
    surfaces_of,
)
from medseg.report.scene.texture import Texture, texture_of
from medseg.volume.labels import PALETTE, Label, Labels, make_labels
from medseg.volume.volume import LabelMap, Volume

_SHADES = (0.0, 0.4, -0.4, 0.65, -0.6)
"""How far each round through the palette is moved to white (above 0) or to black."""

_NICE = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


@dataclass(frozen=True, eq=False)
class Shown:
    """The surfaces of one label map.

    Attributes:
        name: What the map is: "prediction", "reference".
        surfaces: One for each structure that is drawn, ordered by label value.
        volumes_ml: Of each structure by label value, counted in voxels.
        distances_mm: Of each vertex of a surface from the same structure in the other map, by
            label value; a structure that the other map lacks has none.
    """

    name: str
    surfaces: tuple[Surface, ...]
    volumes_ml: Mapping[int, float]
    distances_mm: Mapping[int, npt.NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Scene:
    """A case in space.

    Attributes:
        title: Name of the case.
        labels: All structures that the maps hold.
        shown: One or two maps; none for an image alone.
        texture: The image for slices, or None where there is none.
        notes: What a reader must know, as sentences: an empty mask, structures not drawn.
    """

    title: str
    labels: Labels
    shown: tuple[Shown, ...]
    texture: Texture | None
    notes: tuple[str, ...] = ()

    @property
    def triangles(self) -> int:
        """Of all surfaces together."""
        return sum(len(one.triangles) for shown in self.shown for one in shown.surfaces)

    @property
    def colours(self) -> dict[int, str]:
        """Of each structure by label value, as "#rrggbb"."""
        return colours_of(self.labels)

    @property
    def largest_distance_mm(self) -> float:
        """Where the colours of distances end: 98 % of all vertices are nearer, rounded up."""
        found = [one for shown in self.shown for one in shown.distances_mm.values()]
        return _rounded_up(float(np.percentile(np.concatenate(found), 98))) if found else 1.0


def make_scene(
    image: Volume | None,
    masks: Mapping[str, LabelMap],
    *,
    title: str = "",
    most_triangles: int = MOST_TRIANGLES,
    progress: Progress = SILENT,
) -> Scene:
    """Build what is shown of a case.

    Args:
        image: Its first channel is shown, or None for surfaces alone.
        masks: No, one or two label maps by what they are; of two the distances are measured. They
            lie in the image's space, on any grid.
        title: Name of the case.
        most_triangles: Of all surfaces together.
        progress: Told after each step.

    Raises:
        InvalidGeometry: If the image or a mask is flat.
        EvaluationError: If there are more than two masks, or nothing to show.
    """
    _require_solid(image, masks)
    full = {name: surfaces_of(mask, progress=progress) for name, mask in masks.items()}
    flat = [surface for surfaces in full.values() for surface in surfaces]
    light = iter(decimated(flat, most_triangles=most_triangles, progress=progress))
    shown = []
    for name, surfaces in full.items():
        other = next((full[key] for key in full if key != name), ())
        few = tuple(next(light) for _ in surfaces)
        shown.append(Shown(name, few, _volumes(masks[name]), _distances(few, other, progress)))
    texture = None
    if image is not None:
        with progress.task("Making slices", 1) as task:
            texture = texture_of(image)
            task.advance()
    labels = _union(masks)
    return Scene(title, labels, tuple(shown), texture, _notes(image, masks, full))


def colours_of(labels: Labels) -> dict[int, str]:
    """Colours by label value: a label's own, else the palette, lighter or darker in each round."""
    found = {}
    for position, label in enumerate(labels):
        shade = _SHADES[(position // len(PALETTE)) % len(_SHADES)]
        found[label.value] = label.colour or _shaded(PALETTE[position % len(PALETTE)], shade)
    return found


def _shaded(colour: str, shade: float) -> str:
    end = 255 if shade > 0 else 0
    parts = (round(part + abs(shade) * (end - part)) for part in bytes.fromhex(colour[1:]))
    return "#" + bytes(parts).hex()


def _require_solid(image: Volume | None, masks: Mapping[str, LabelMap]) -> None:
    if len(masks) > 2 or (image is None and not masks):
        raise EvaluationError(
            "A scene shows an image, one or two masks, or both.",
            received=f"{len(masks)} masks and {'no' if image is None else 'an'} image",
        )
    grids = {name: mask.geometry for name, mask in masks.items()}
    if image is not None:
        grids["image"] = image.geometry
    for name, grid in grids.items():
        if min(grid.grid_size) == 1:
            raise InvalidGeometry(
                "A scene in space needs several slices.",
                received=f"{name} of {' x '.join(map(str, grid.grid_size))} voxels",
                cure="Give the whole volume.",
            )


def _distances(
    surfaces: tuple[Surface, ...], other: tuple[Surface, ...], progress: Progress
) -> dict[int, npt.NDArray[np.float32]]:
    there = {surface.label.value: surface for surface in other}
    common = [surface for surface in surfaces if surface.label.value in there]
    found = {}
    if common:
        with progress.task("Measuring distances", len(common)) as task:
            for surface in common:
                value = surface.label.value
                found[value] = distances_mm(surface, there[value])
                task.advance()
    return found


def _union(masks: Mapping[str, LabelMap]) -> Labels:
    """The labels of all maps; the same value means the same structure, the first name wins."""
    by_value: dict[int, Label] = {}
    for mask in masks.values():
        for label in mask.labels:
            by_value.setdefault(label.value, label)
    return make_labels(by_value.values())


def _volumes(mask: LabelMap) -> dict[int, float]:
    by_name = mask.volumes_ml()
    return {label.value: by_name[label.name] for label in mask.labels}


def _notes(
    image: Volume | None, masks: Mapping[str, LabelMap], full: Mapping[str, tuple[Surface, ...]]
) -> tuple[str, ...]:
    notes = []
    for name, mask in masks.items():
        held = sum(volume > 0 for volume in _volumes(mask).values())
        if held == 0:
            notes.append(f"The {name} is empty: it holds no structure.")
        if held > len(full[name]):
            notes.append(
                f"The {name} holds {held} structures; the {MOST_STRUCTURES} largest are drawn."
            )
    if image is not None and image.array.shape[0] > 1:
        notes.append(
            f"The slices show the first of {image.array.shape[0]} channels, "
            f"{image.channel_names[0]}."
        )
    return tuple(notes)


def _rounded_up(distance_mm: float) -> float:
    """The next number of one or two digits that makes good ticks; at least 1 mm."""
    if distance_mm <= 1.0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(distance_mm))
    return float(next(step * power for step in _NICE if step * power >= distance_mm))
