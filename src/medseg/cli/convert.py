"""`medseg convert`: between formats; geometry is kept, or that of a reference is taken."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medseg.cli.console import reporting
from medseg.cli.dicom_options import AllowGaps, SegType, SeriesUid

if TYPE_CHECKING:
    from medseg.volume.dicom import Series
    from medseg.volume.geometry import Geometry
    from medseg.volume.volume import LabelMap, Volume


@dataclass(frozen=True)
class _Intake:
    """How DICOM folders are taken."""

    uid: str
    allow_gaps: bool

    def series(self, folder: Path) -> "Series":
        from medseg.volume.dicom import find_only_series

        return find_only_series(folder, uid=self.uid, allow_gaps=self.allow_gaps)


@dataclass(frozen=True)
class _Output:
    """What a .dcm file shall be."""

    kind: Literal["seg", "rtstruct"]
    seg_type: Literal["binary", "fractional", "labelmap"]


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN", help="Image file, DICOM folder or zip, DICOM-SEG or RTSTRUCT."
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Image file (.nii.gz, .mha, .nrrd, .png, .tif), a folder for a DICOM series, "
            "or a .dcm file for a DICOM-SEG or an RTSTRUCT.",
        ),
    ],
    reference: Annotated[
        Path | None,
        typer.Option(help="Image, DICOM folder or zip whose grid the result shall have."),
    ] = None,
    labels: Annotated[
        bool,
        typer.Option(
            "--labels", help="IN holds label values (a DICOM-SEG or an RTSTRUCT always does)."
        ),
    ] = False,
    structure: Annotated[
        list[str] | None,
        typer.Option(help="Take this structure of a DICOM-SEG or RTSTRUCT only; may be repeated."),
    ] = None,
    series: SeriesUid = "",
    allow_gaps: AllowGaps = False,
    modality: Annotated[
        str, typer.Option(help="CT or MR, for a DICOM series from a file that does not say.")
    ] = "",
    dicom: Annotated[
        Literal["seg", "rtstruct"], typer.Option(help="What a .dcm file shall be.")
    ] = "seg",
    seg_type: SegType = "binary",
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Convert an image or a label map; geometry is kept, or taken from a reference."""
    with reporting(as_json=as_json) as console, ExitStack() as unpacked:
        from medseg.volume.dicom_labels import is_dicom_labels
        from medseg.volume.dicom_zip import as_folder

        source = unpacked.enter_context(as_folder(source))
        if reference is not None:
            reference = unpacked.enter_context(as_folder(reference))
        intake = _Intake(series, allow_gaps)
        if labels or is_dicom_labels(source):
            result: LabelMap | Volume = _convert_labels(
                source, target, reference, tuple(structure or ()), intake, _Output(dicom, seg_type)
            )
        else:
            result = _convert_image(source, target, reference, modality, intake)
        grid = " x ".join(map(str, result.geometry.grid_size))
        console.say(f"{target}: {grid} voxels, {result.geometry.orientation}")
        for remark in result.source.remarks:
            console.progress.note(remark.text)
        console.result(
            {
                "path": str(target),
                "grid_size": result.geometry.grid_size,
                "spacing_mm": result.spacing_mm,
                "affine": result.geometry.affine.tolist(),
                "remarks": [remark.model_dump() for remark in result.source.remarks],
            }
        )


def _convert_image(
    source: Path, target: Path, reference: Path | None, modality: str, intake: _Intake
) -> "Volume":
    from medseg.errors import UnknownFormat
    from medseg.volume.dicom import read_series
    from medseg.volume.io import is_image_file, read_volume, write_volume

    volume = read_series(intake.series(source)) if _is_dicom(source) else read_volume(source)
    grid = volume.geometry if reference is None else _grid_of(reference, intake)
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


def _is_dicom(path: Path) -> bool:
    from medseg.volume.io import is_dicom_file, is_image_file

    return path.is_dir() or (not is_image_file(path) and is_dicom_file(path))


def _grid_of(reference: Path, intake: _Intake) -> "Geometry":
    from medseg.volume.dicom import read_series_geometry
    from medseg.volume.io import read_geometry

    if _is_dicom(reference):
        return read_series_geometry(intake.series(reference))
    return read_geometry(reference)


def _convert_labels(
    source: Path,
    target: Path,
    reference: Path | None,
    structures: tuple[str, ...],
    intake: _Intake,
    output: _Output,
) -> "LabelMap":
    from medseg.volume.dicom_labels import is_dicom_labels, read_dicom_labels
    from medseg.volume.io import read_label_map, write_label_map

    grid = None if reference is None else _grid_of(reference, intake)
    if is_dicom_labels(source):
        label_map = read_dicom_labels(source, reference=grid, structures=structures)
    else:
        label_map = read_label_map(source)
    if grid is not None:
        from medseg.space.onto import labels_onto

        label_map = labels_onto(label_map, grid)
    if target.suffix.lower() == ".dcm":
        _write_dicom(label_map, target, reference, intake, output)
    else:
        write_label_map(label_map, target)
    return label_map


def _write_dicom(
    label_map: "LabelMap", target: Path, reference: Path | None, intake: _Intake, output: _Output
) -> None:
    from medseg import __version__
    from medseg.errors import InvalidSegmentation
    from medseg.volume.dicom_rtstruct import write_structures
    from medseg.volume.dicom_seg import write_segmentation

    if reference is None:
        raise InvalidSegmentation(
            "A DICOM-SEG or RTSTRUCT belongs to the images that were segmented.",
            received="no reference",
            cure="Add --reference SERIES, the DICOM folder of the images.",
        )
    series, name = intake.series(reference), "medseg convert"
    if output.kind == "rtstruct":
        write_structures(label_map, series, target, algorithm=name, version=__version__)
    else:
        write_segmentation(
            label_map, series, target, algorithm=name, version=__version__, kind=output.seg_type
        )
