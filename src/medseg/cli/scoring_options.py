"""Options that say how masks are scored: the same words in every command that scores."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medseg.report.scores.settings import ScoreSettings
    from medseg.report.scores.structures import Region
    from medseg.volume.labels import Labels

LabelsFile = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        help='JSON with names and values, {"liver": 1, "all": [1, 2]}, a dataset.json or a bundle.',
    ),
]
Regions = Annotated[
    list[str] | None,
    typer.Option("--region", help='A union of labels: "whole tumour=1,2,4". Repeatable.'),
]
Surface = Annotated[
    str, typer.Option("--surface", help='"elements" (weighted by area) or "borders" (voxels).')
]
Tolerance = Annotated[
    float,
    typer.Option("--tolerance", help="Surface distance in mm that still counts as right (NSD)."),
]
TolerancesFile = Annotated[
    Path | None, typer.Option("--tolerances", help='JSON with tolerances in mm: {"liver": 3.0}.')
]
Tubes = Annotated[
    list[str] | None, typer.Option("--tubes", help="A label that is a tube: clDice. Repeatable.")
]
Resample = Annotated[
    bool, typer.Option("--resample", help="Bring predictions onto the grids of their references.")
]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="Count cases without a prediction as missed.")
]


def structures_given(
    labels: Path | None, regions: list[str] | None
) -> "tuple[Labels | None, tuple[Region, ...], int | None]":
    """What a user says is scored: a file of labels, and regions as they were typed.

    Args:
        labels: The file.
        regions: The regions.

    Returns:
        The labels, None where no file names them; the regions; and the value of voxels that do not
        count, where the file names one.

    Raises:
        MedsegError: If the file cannot be read, or the two contradict each other.
    """
    from medseg.report.scores.names import read_structures
    from medseg.report.scores.structures import Structures, parse_region

    known = read_structures(labels) if labels else Structures()
    typed = tuple(parse_region(text, known.labels) for text in regions or [])
    together = Structures(known.labels, (*known.regions, *typed))
    return together.labels if labels else None, together.regions, known.ignored_value


def settings_given(
    *,
    surface: str,
    tolerance: float,
    tolerances: Path | None,
    tubes: list[str] | None,
    resample: bool,
    lesions: list[str] | None = None,
    instances: bool = False,
) -> "ScoreSettings":
    """The definitions that the options choose.

    Raises:
        MedsegError: If there is no such definition, or the file cannot be read.
    """
    from medseg.report.scores.names import read_tolerances
    from medseg.report.scores.settings import ScoreSettings, surface_kind

    return ScoreSettings(
        tolerance_mm=tolerance,
        tolerances_mm=read_tolerances(tolerances) if tolerances else {},
        surface=surface_kind(surface),
        tubes=tuple(tubes or ()),
        lesions=tuple(lesions or ()),
        instances=instances,
        resample=resample,
    )
