"""What the process that segments is told to do."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from medseg.specs.base import FROZEN


class Options(BaseModel):
    """What decides about a result beside its input and its bundle.

    Attributes:
        tta: Whether mirrored images are looked at too.
        seg_type: How the DICOM-SEG stores masks.
        allow_gaps: Whether missing slices are interpolated, and said to be.
    """

    model_config = FROZEN

    tta: bool = False
    seg_type: Literal["binary", "fractional", "labelmap"] = "binary"
    allow_gaps: bool = False


class Work(BaseModel):
    """What a process is told to do.

    Attributes:
        key: Name of the result; the UIDs of its files follow from it.
        bundle: Folder of the bundle.
        options: See `Options`.
        files: Of the DICOM series; empty for an upload.
        series_uid: Which series; empty for an upload.
        upload: The image that is no DICOM; None for a series.
        out: Folder for the results; it is made anew.
    """

    model_config = FROZEN

    key: str
    bundle: Path
    options: Options = Options()
    files: tuple[Path, ...] = ()
    series_uid: str = ""
    upload: Path | None = None
    out: Path
