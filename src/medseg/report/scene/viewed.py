"""An image and its masks on one grid, or a sentence that says why they are not."""

from dataclasses import dataclass
from pathlib import Path

from medseg.errors import DifferentSpace, MissingPath
from medseg.progress import SILENT, Progress
from medseg.report.scores.masks import read_pair
from medseg.report.scores.names import read_record, structures_within
from medseg.report.scores.pairs import Pair
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_volume, stem_of
from medseg.volume.labels import Labels
from medseg.volume.placing import place
from medseg.volume.volume import LabelMap, Volume


@dataclass(frozen=True, eq=False)
class Viewed:
    """A case as it was read.

    Attributes:
        title: Name of the case.
        image: The image.
        masks: Label maps on its grid, by what they are.
    """

    title: str
    image: Volume
    masks: dict[str, LabelMap]

    @property
    def is_flat(self) -> bool:
        """Whether the image has one slice only."""
        return min(self.image.geometry.grid_size) == 1


def read_viewed(
    case: Path,
    mask: Path | None = None,
    reference: Path | None = None,
    *,
    labels: Labels | None = None,
    resample: bool = False,
    progress: Progress = SILENT,
) -> Viewed:
    """Read an image, a mask and a reference.

    A mask may have its axes in another order than the image, or cover a part of it (a DICOM-SEG of
    a few slices). Names are those given, else those of the `predictions.json` beside the mask; a
    value without a name is called `label_<value>`.

    Args:
        case: An image file or a folder of DICOM slices.
        mask: Label values in any format that is read, or a DICOM-SEG.
        reference: The same of what the mask should be.
        labels: What the values mean.
        resample: Whether a mask on another grid is brought onto the image's, by a vote.
        progress: Told after each file.

    Raises:
        DifferentSpace: If a mask lies on another grid than the image.
        LabelError: If a mask holds fractions or colours.
        FileError: If a file is missing or cannot be read.
        DicomError: If a folder cannot become one volume.
    """
    named = {"prediction" if reference else "mask": mask, "reference": reference}
    wanted = {name: path for name, path in named.items() if path is not None}
    with progress.task("Reading", 1 + len(wanted)) as task:
        image = read_volume(case)
        task.advance()
        masks = {}
        for name, path in wanted.items():
            if not path.exists():
                raise MissingPath(
                    f"The {name} is a file.", received=f"nothing at {path}", cure="Check the path."
                )
            known = labels or _recorded(path)
            found = read_pair(Pair(stem_of(path), path, None), None, known)[1]
            masks[name] = _onto(found, image.geometry, name, resample=resample)
            task.advance()
    return Viewed(_title(case), image, masks)


def _recorded(mask: Path) -> Labels | None:
    return structures_within({"labels": read_record(mask.parent).get("labels")}).labels or None


def _title(case: Path) -> str:
    return case.resolve().name if case.is_dir() else stem_of(case)


def _onto(mask: LabelMap, grid: Geometry, name: str, *, resample: bool) -> LabelMap:
    """The mask on the image's grid: exact on the same lattice, else by a vote if wished."""
    if mask.geometry.same_space(grid):
        return mask
    try:
        return place(mask, grid)
    except DifferentSpace as error:
        if not resample:
            raise DifferentSpace(
                f"One grid must hold the image and the {name}.",
                received=f"image {_words(grid)}, {name} {_words(mask.geometry)}, "
                f"corners up to {_apart_mm(grid, mask.geometry):.3g} mm apart",
                cure=f"Pass --resample to bring the {name} onto the image's grid, by a vote.",
            ) from error
    from medseg.space.resample import resample_labels

    moved = resample_labels(mask, grid)
    if mask.array.any() and not moved.array.any():
        raise DifferentSpace(
            f"The image and the {name} show the same part of a patient.",
            received=f"no structure of the {name} within the image",
            cure="Check that both files belong to the same scan.",
        )
    return moved


def _apart_mm(one: Geometry, other: Geometry) -> float:
    """Largest distance between corresponding corners, in the image's order of axes."""
    axes, flips = other.steps_to(one.orientation)
    apart = one.corners_mm() - other.reordered(axes, flips).corners_mm()
    return float((apart**2).sum(axis=1).max() ** 0.5)


def _words(grid: Geometry) -> str:
    size = " x ".join(map(str, grid.grid_size))
    return f"{size} voxels of {' x '.join(f'{step:.4g}' for step in grid.spacing_mm)} mm"
