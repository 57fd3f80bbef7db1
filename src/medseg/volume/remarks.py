"""What a reader did to a case, or saw of it, that its voxels do not show."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

RemarkCode = Literal["gaps", "tilt", "copies", "padding", "lossy", "suv", "left-out"]
"""Gaps: slices were interpolated. Tilt: slices were moved in their plane. Copies: files that hold
the same image were dropped. Padding: pixels outside of the scan became background. Lossy: the
images were compressed with loss. Suv: PET values became uptake values. Left-out: structures that
are no volume."""


class Remark(BaseModel):
    """One thing to know about a case that was read.

    Attributes:
        code: What kind of thing; stable, for programs.
        text: A sentence for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: RemarkCode
    text: str
