"""Small described data sets on disk, for versions and loops."""

from pathlib import Path

import numpy as np
from watching import LABELS, volume_of

from medseg.dataset.description import (
    Case,
    Channel,
    DatasetDescription,
    load_description,
    save_description,
)
from medseg.files import sha256
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.volume import LabelMap


def label_of(n, shift=0):
    """A bright corner as shell and core, moved along I by so many voxels."""
    volume = volume_of(n)
    array = np.zeros(volume.geometry.grid_size, np.uint8)
    array[2 + shift : 7 + shift, 2:8, 2:7] = 2
    array[3 + shift : 6 + shift, 3:6, 3:6] = 1
    return LabelMap(array, volume.geometry, LABELS)


def write_image(path, n, brighter=0.0):
    volume = volume_of(n)
    volume.array[0] += 80 * (label_of(n).array > 0) + brighter
    write_volume(volume, path)


def write_label(path, n, shift=0):
    write_label_map(label_of(n, shift), path)


def write_data(folder: Path, numbers, *, labelled=True, brighter=0.0, prefix="case"):
    """Images and labels of cases of these numbers, described."""
    cases = []
    for n in numbers:
        name = f"{prefix}_{n:02d}"
        image = folder / "images" / f"{name}.nii.gz"
        label = folder / "labels" / f"{name}.nii.gz" if labelled else None
        write_image(image, n, brighter)
        if label is not None:
            write_label(label, n)
        cases.append(Case(id=name, images=(image,), label=label))
    described = DatasetDescription(
        name="Small",
        channels=(Channel(name="T1", modality="MR"),),
        labels=LABELS,
        cases=tuple(cases) if labelled else (),
        unlabelled=() if labelled else tuple(cases),
    )
    save_description(described, folder)
    return described


def files_of(root):
    return {
        str(path.relative_to(root)): sha256(path)
        for folder in ("images", "labels") for path in sorted((root / folder).glob("*"))
    }  # fmt: skip


def add_case(data, n):
    root = data.root
    write_image(root / "images" / f"case_{n:02d}.nii.gz", n)
    write_label(root / "labels" / f"case_{n:02d}.nii.gz", n)
    description = load_description(root)
    name = f"case_{n:02d}"
    case = Case(id=name, images=(root / "images" / f"{name}.nii.gz",),
                label=root / "labels" / f"{name}.nii.gz")  # fmt: skip
    save_description(description.model_copy(update={"cases": (*description.cases, case)}), root)
