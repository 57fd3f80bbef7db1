"""Options that say how DICOM is taken and written: the same words in every command."""

from typing import Annotated, Literal

import typer

SeriesUid = Annotated[
    str,
    typer.Option(metavar="UID", help="Take this DICOM series only: its UID or how that ends."),
]
AllowGaps = Annotated[
    bool,
    typer.Option("--allow-gaps", help="Interpolate missing slices instead of refusing."),
]
SegType = Annotated[
    Literal["binary", "fractional", "labelmap"], typer.Option(help="Kind of DICOM-SEG.")
]
Measurements = Annotated[
    bool, typer.Option("--measurements", help="Also write volumes as DICOM SR, for a DICOM-SEG.")
]
