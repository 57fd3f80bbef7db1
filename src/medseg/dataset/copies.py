"""Images and labels copied into the folder of a data set, so that it can be kept as a whole."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from medseg.dataset.description import Case, DatasetDescription, save_description
from medseg.errors import CannotWrite
from medseg.files import atomic_file, atomic_folder
from medseg.progress import SILENT, Progress
from medseg.volume.io import is_image_file, stem_of

IMAGES_FOLDER, LABELS_FOLDER = "images", "labels"
"""Where files of cases go."""


def copy_dataset(
    description: DatasetDescription, folder: Path, *, progress: Progress = SILENT
) -> DatasetDescription:
    """Copy all images and labels into `images/` and `labels/` of a folder, and describe them.

    Args:
        description: The data set.
        folder: An empty one, or none yet.
        progress: Told after each case.

    Returns:
        The copy.

    Raises:
        CannotWrite: If the folder is not empty or cannot be written.
        OSError: If a file cannot be read.
    """
    home = folder.absolute()
    if home.is_dir() and any(home.iterdir()):
        raise CannotWrite(
            "A data set is copied into an empty folder.",
            received=f"files in {folder}",
            cure="Choose another folder.",
        )

    def copied(case: Case) -> Case:
        images = image_places(case.id, case.images, home / IMAGES_FOLDER)
        copy_images(case.images, images)
        label = None
        if case.label is not None:
            end = case.label.name[len(stem_of(case.label)) :]
            label = home / LABELS_FOLDER / f"{case.id}{end}"
            copy_file(case.label, label)
        task.advance(case=case.id)
        return case.model_copy(update={"images": images, "label": label})

    with progress.task("copying cases", len(description.all_cases)) as task:
        changed = description.model_copy(
            update={
                "cases": tuple(map(copied, description.cases)),
                "unlabelled": tuple(map(copied, description.unlabelled)),
            }
        )
    save_description(changed, home)
    return changed


def image_places(name: str, images: Sequence[Path], folder: Path) -> tuple[Path, ...]:
    """Where copies of the images of a case go: one file each, or a folder for a DICOM series.

    Args:
        name: Of the case.
        images: A file for each channel, one for all, a folder, or the files of a series.
        folder: Below which they go.
    """
    if not is_image_file(images[0]):
        return (folder / name,)
    ends = [path.name[len(stem_of(path)) :] for path in images]
    if len(images) == 1:
        return (folder / f"{name}{ends[0]}",)
    return tuple(folder / f"{name}_{n:04d}{end}" for n, end in enumerate(ends))


def copy_images(images: Sequence[Path], places: Sequence[Path]) -> None:
    """Copy images to where `image_places` says, each file or folder as a whole.

    Raises:
        CannotWrite: If one cannot be written.
        OSError: If one cannot be read.
    """
    if is_image_file(images[0]):
        for source, target in zip(images, places, strict=True):
            copy_file(source, target)
    elif images[0].is_dir():
        with atomic_folder(places[0]) as folder:
            shutil.copytree(images[0], folder, dirs_exist_ok=True)
    else:
        with atomic_folder(places[0]) as folder:
            for n, source in enumerate(images):
                shutil.copyfile(source, folder / f"{n:05d}_{source.name}")


def copy_file(source: Path, target: Path) -> None:
    """Copy one file, whole or not at all; a file onto itself stays as it is.

    Raises:
        CannotWrite: If it cannot be written.
        OSError: If it cannot be read.
    """
    if source.absolute() != target:
        with atomic_file(target) as temporary:
            shutil.copyfile(source, temporary)
