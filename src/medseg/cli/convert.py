"""`medseg convert`: between formats; geometry is kept, or that of a reference is taken."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.console import reporting

if TYPE_CHECKING:
    from medseg.volume.geometry import Geometry
    from medseg.volume.volume import LabelMap, Volume


def convert(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="Image file, DICOM folder or DICOM-SEG.")
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Image file (.nii.gz, .mha, .nrrd, .png, .tif), a folder for a DICOM series, "
            "or a .dcm file for a DICOM-SEG.",
        ),
    ],
    reference: Annotated[
        Path | None,
        typer.Option(help="Image or DICOM folder whose grid the result shall have."),
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="IN holds label values (a DICOM-SEG always does).")
    ] = False,
    modality: Annotated[
        str, typer.Option(help="CT or MR, for a DICOM series from a file that does not say.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Convert an image or a label map; geometry is kept, or taken from a reference."""
    with reporting(as_json=as_json) as console:
        from medseg.volume.dicom_seg_frames import is_segmentation

        if labels or is_segmentation(source):
            result: LabelMap | Volume = _convert_labels(source, target, reference)
        else:
            result = _convert_image(source, target, reference, modality)
        grid = " x ".join(map(str, result.geometry.grid_size))
        console.say(f"{target}: {grid} voxels, {result.geometry.orientation}")
        console.result(
            {
                "path": str(target),
                "grid_size": result.geometry.grid_size,
                "spacing_mm": result.spacing_mm,
                "affine": result.geometry.affine.tolist(),
            }
        )


def _convert_image(source: Path, target: Path, reference: Path | None, modality: str) -> "Volume":
    from medseg.errors import UnknownFormat
    from medseg.volume.io import is_image_file, read_geometry, read_volume, write_volume

    volume = read_volume(source)
    grid = volume.geometry if reference is None else read_geometry(reference)
    if not volume.geometry.same_space(grid):
        from medseg.space.resample import resample_volume

        volume = resample_volume(volume, grid)
    if is_image_file(target) or target.suffix:
        write_volume(volume, target)
        return volume
    from medseg.volume.dicom import write_series

    modality = modality or volume.source.modality
    if not modality:
        raise UnknownFormat(
            "A DICOM series says what it was made with.",
            received=f"{source.name}, which does not",
            cure="Add --modality CT or --modality MR.",
        )
    write_series(volume, target, modality=modality, patient_name="Unknown", patient_id="unknown")
    return volume


def _convert_labels(source: Path, target: Path, reference: Path | None) -> "LabelMap":
    from medseg.volume.dicom_seg import read_segmentation
    from medseg.volume.dicom_seg_frames import is_segmentation
    from medseg.volume.io import read_geometry, read_label_map, write_label_map

    label_map = read_segmentation(source) if is_segmentation(source) else read_label_map(source)
    if reference is not None:
        label_map = _onto(label_map, read_geometry(reference))
    if target.suffix.lower() == ".dcm":
        _write_segmentation(label_map, target, reference)
    else:
        write_label_map(label_map, target)
    return label_map


def _onto(label_map: "LabelMap", grid: "Geometry") -> "LabelMap":
    """Exact where both have the same voxels; else by vote."""
    from medseg.errors import DifferentSpace
    from medseg.volume.placing import place

    try:
        return place(label_map, grid)
    except DifferentSpace:
        from medseg.space.resample import resample_labels

        return resample_labels(label_map, grid)


def _write_segmentation(label_map: "LabelMap", target: Path, reference: Path | None) -> None:
    from medseg import __version__
    from medseg.errors import InvalidSegmentation
    from medseg.volume.dicom import find_only_series
    from medseg.volume.dicom_seg import write_segmentation

    if reference is None:
        raise InvalidSegmentation(
            "A DICOM-SEG belongs to the images that were segmented.",
            received="no reference",
            cure="Add --reference SERIES, the DICOM folder of the images.",
        )
    series = find_only_series(reference)
    write_segmentation(label_map, series, target, algorithm="medseg convert", version=__version__)
