"""A case in space as one page: surfaces, moving slices and distances; no server, no network."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from medseg.files import write_text
from medseg.progress import SILENT, Progress
from medseg.report.html import render
from medseg.report.scene.packing import Box, Pack, add_surface, box_around, plotly_program
from medseg.report.scene.scene import Scene, make_scene
from medseg.report.scene.texture import Texture
from medseg.volume.volume import LabelMap, Volume


def write_scene(
    path: Path,
    *,
    image: Volume | None,
    masks: Mapping[str, LabelMap],
    title: str = "",
    distance: bool = False,
    progress: Progress = SILENT,
) -> Scene:
    """Write a page that turns in a browser and needs nothing beside it.

    Args:
        path: The page.
        image: For the slices; None for surfaces alone.
        masks: One or two label maps by what they are, such as "prediction" and "reference".
        title: Name of the case.
        distance: Whether the page opens with distances as colour; they are measured anyway.
        progress: Told after each step.

    Returns:
        What is shown; `still.render_png` draws the same without a browser.

    Raises:
        InvalidGeometry: If the image or a mask is flat.
        EvaluationError: If there is nothing to show.
        CannotWrite: If the page cannot be written.
    """
    scene = make_scene(image, masks, title=title, progress=progress)
    write_page(path, scene, distance=distance)
    return scene


def write_page(path: Path, scene: Scene, *, distance: bool = False) -> None:
    """Write the page of a scene that was made before.

    Raises:
        CannotWrite: If the page cannot be written.
    """
    write_text(path, page_of(scene, distance=distance))


def page_of(scene: Scene, *, distance: bool = False) -> str:
    """The page of a scene: HTML with plotly.js, all surfaces and the image within."""
    pack = Pack()
    described = _described(scene, pack)
    described["colour"] = "distance" if distance and described["measured"] else "structure"
    return render(
        "scene.html.j2",
        {
            "title": scene.title or "A case",
            "facts": _facts(scene),
            "notes": scene.notes,
            "scene": Markup(json.dumps(described).replace("<", "\\u003c")),
            "numbers": pack.text(),
            "program": plotly_program(),
        },
    )


def _described(scene: Scene, pack: Pack) -> dict[str, Any]:
    """All that the page's script needs to know, and the arrays in `pack`."""
    surfaces = [surface for shown in scene.shown for surface in shown.surfaces]
    box, most, colours = box_around(surfaces), scene.largest_distance_mm, scene.colours
    meshes = []
    for number, shown in enumerate(scene.shown):
        for surface in shown.surfaces:
            value = surface.label.value
            places = add_surface(pack, surface, box, shown.distances_mm.get(value), most)
            meshes.append({"map": number, "label": value, **places})
    return {
        "maps": [shown.name for shown in scene.shown],
        "labels": _listed(scene, colours),
        "meshes": meshes,
        "box": {"low": box.low_mm, "step": box.step_mm},
        "measured": any(shown.distances_mm for shown in scene.shown),
        "most": most,
        "texture": None if scene.texture is None else _slices(scene.texture, box, bool(surfaces)),
    }


def _listed(scene: Scene, colours: Mapping[int, str]) -> list[dict[str, Any]]:
    """Structures for the legend: those that occur in a map."""
    rows = []
    for label in scene.labels:
        volumes = [shown.volumes_ml.get(label.value, 0.0) for shown in scene.shown]
        drawn = [
            any(one.label.value == label.value for one in shown.surfaces) for shown in scene.shown
        ]
        if any(drawn):
            row = {"value": label.value, "name": label.name, "colour": colours[label.value]}
            rows.append({**row, "ml": volumes, "drawn": drawn})
    return rows


def _slices(texture: Texture, box: Box, about_surfaces: bool) -> dict[str, Any]:
    """A texture for the script; slices begin in the middle of the surfaces, or of the image."""
    middle = [size // 2 for size in texture.grid_size]
    if about_surfaces:
        centre = [low + step * 65535 / 2 for low, step in zip(box.low_mm, box.step_mm, strict=True)]
        index = _index_of(texture, centre)
        middle = [
            min(range(len(places)), key=lambda n: abs(places[n] - index[axis]))
            for axis, places in enumerate(texture.centres)
        ]
    return {
        "address": texture.address,
        "size": texture.grid_size,
        "columns": texture.columns,
        "centres": [places.tolist() for places in texture.centres],
        "affine": texture.geometry.affine[:3].tolist(),
        "grid": texture.geometry.grid_size,
        "at": middle,
    }


def _index_of(texture: Texture, world_mm: list[float]) -> list[float]:
    found: list[float] = texture.geometry.world_to_index(np.asarray(world_mm)).tolist()
    return found


def _facts(scene: Scene) -> list[str]:
    """What the page was made of, in sentences for its foot."""
    facts = []
    if scene.texture is not None:
        size = " x ".join(map(str, scene.texture.geometry.grid_size))
        spacing = " x ".join(f"{step:.3g}" for step in scene.texture.geometry.spacing_mm)
        facts.append(f"{size} voxels of {spacing} mm.")
        joined = scene.texture.joined
        if max(joined) > 1:
            facts.append(f"Slices are means of {' x '.join(map(str, joined))} voxels.")
        facts.append(f"Black is {scene.texture.low:.4g}, white {scene.texture.high:.4g}.")
    if scene.triangles:
        facts.append(
            f"Surfaces by marching cubes, smoothed by no more than half a voxel, thinned to "
            f"{scene.triangles:,} triangles. Volumes are counted in voxels."
        )
    if any(shown.distances_mm for shown in scene.shown):
        facts.append("Distances are from each point to the nearest point of the other surface.")
    return facts
