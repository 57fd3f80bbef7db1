"""An image of one slice with the outlines of its masks, as one page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import InvalidGeometry
from medseg.files import write_text
from medseg.report.html import render
from medseg.report.scene import colours_of
from medseg.report.slices import HANGING, Cut, best_plane, data_uri, picture_of, svg_path
from medseg.volume.labels import make_labels
from medseg.volume.volume import LabelMap, Volume


def write_flat(
    path: Path, *, image: Volume, masks: Mapping[str, LabelMap], title: str = ""
) -> None:
    """Write a page with a picture and the outlines of one or two label maps.

    Args:
        path: The page.
        image: Of one slice; its first channel is shown, or all three of a colour picture.
        masks: On the image's grid, by what they are; the second one's outlines are dashed.
        title: Name of the case.

    Raises:
        InvalidGeometry: If the image has several slices.
        DifferentSpace: If a mask lies on another grid.
        CannotWrite: If the page cannot be written.
    """
    if min(image.geometry.grid_size) > 1:
        raise InvalidGeometry(
            "A flat page shows an image of one slice.",
            received=" x ".join(map(str, image.geometry.grid_size)) + " voxels",
            cure="Write a scene instead.",
        )
    for name, mask in masks.items():
        image.geometry.require_same_space(mask.geometry, what=f"the image and the {name}")
    hung = image.reoriented(HANGING)
    axis = best_plane(hung.spacing_mm, hung.geometry.grid_size)
    columns, rows = (size for n, size in enumerate(hung.geometry.grid_size) if n != axis)
    cut = Cut(axis, 0, (0, rows), (0, columns))
    width_mm, height_mm = cut.pixel_mm(hung.spacing_mm)
    content = {
        "title": title or "A picture",
        "address": data_uri(picture_of(hung, cut)),
        "columns": columns,
        "rows": rows,
        "width": columns * width_mm,
        "height": rows * height_mm,
        "maps": tuple(masks),
        "structures": _structures(masks, cut),
        "empty": [name for name, mask in masks.items() if not mask.array.any()],
        "channel": image.channel_names[0] if image.array.shape[0] not in (1, 3) else "",
    }
    write_text(path, render("flat.html.j2", content))


def _structures(masks: Mapping[str, LabelMap], cut: Cut) -> list[dict[str, Any]]:
    """Each structure that a map holds: name, colour, and in each map its pixels and outlines."""
    by_value = {
        label.value: label for mask in reversed(list(masks.values())) for label in mask.labels
    }
    labels = make_labels(by_value.values())
    colours = colours_of(labels)
    planes = [cut.of(mask.reoriented(HANGING).array) for mask in masks.values()]
    rows = []
    for label in labels:
        held = [plane == label.value for plane in planes]
        pixels = [int(np.count_nonzero(one)) for one in held]
        if any(pixels):
            paths = [svg_path(one) for one in held]
            rows.append(
                {"name": label.name, "colour": colours[label.value], "pixels": pixels,
                 "paths": paths}
            )  # fmt: skip
    return rows
