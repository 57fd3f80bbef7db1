"""What the numbers of a label map mean."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from medseg.errors import LabelError


class Code(BaseModel):
    """A coded concept, as DICOM's code sequences hold it (PS3.3, 8.8)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: str
    scheme: str = "SCT"
    meaning: str


LARGEST_LABEL = 65535
"""Files hold values of up to 16 bits."""


class Label(BaseModel):
    """One structure: the value of its voxels and its name.

    Attributes:
        value: What voxels of this structure hold in files; never 0, which is background.
        name: What people call it.
        category: SNOMED CT category, for DICOM-SEG ("Anatomical Structure" when not given).
        kind: SNOMED CT code of the structure itself, for DICOM-SEG.
        colour: "#rrggbb", or None for one chosen by position.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: int = Field(ge=1, le=LARGEST_LABEL)
    name: str = Field(min_length=1, max_length=64)
    category: Code | None = None
    kind: Code | None = None
    colour: str | None = Field(default=None, pattern="^#[0-9a-fA-F]{6}$")


Labels = tuple[Label, ...]
"""All structures of a label map, ordered by value; the n-th is class n + 1 of a network."""

PALETTE = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f7f7f",
)  # fmt: skip
"""Colours that stay apart for colour-blind eyes (Okabe and Ito, 2008)."""


def make_labels(labels: Iterable[Label]) -> Labels:
    """Order labels by value and check that values and names are unique.

    Raises:
        LabelError: If a value or a name occurs twice.
    """
    ordered = tuple(sorted(labels, key=lambda label: label.value))
    for words in ([str(label.value) for label in ordered], [label.name for label in ordered]):
        twice = sorted({word for word in words if words.count(word) > 1})
        if twice:
            raise LabelError(
                "Values and names of labels are unique.",
                received=f"twice: {', '.join(twice)}",
                cure="Give each structure a value and a name of its own.",
            )
    return ordered


def colour_of(labels: Labels, label: Label) -> str:
    """The label's own colour, or one of `PALETTE` by its position."""
    return label.colour or PALETTE[labels.index(label) % len(PALETTE)]
