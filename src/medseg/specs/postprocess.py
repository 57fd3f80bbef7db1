"""Settings of what is done to a finished mask, structure by structure; told apart by `kind`."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from medseg.specs.base import FROZEN


class LargestComponentSpec(BaseModel):
    """Of one structure, only its largest connected part stays.

    Attributes:
        structure: Name of its label.
    """

    model_config = FROZEN

    kind: Literal["largest_component"] = "largest_component"
    structure: str

    @property
    def sentence(self) -> str:
        """For people."""
        return f"Of {self.structure}, only the largest connected part stays."


class MinimumVolumeSpec(BaseModel):
    """Of one structure, only connected parts of some volume stay.

    Attributes:
        structure: Name of its label.
        volume_ml: The smallest part that stays.
    """

    model_config = FROZEN

    kind: Literal["minimum_volume"] = "minimum_volume"
    structure: str
    volume_ml: float = Field(gt=0)

    @property
    def sentence(self) -> str:
        """For people."""
        return f"Of {self.structure}, connected parts below {self.volume_ml:.3g} ml go."


class FilledHolesSpec(BaseModel):
    """Background that one structure encloses becomes that structure.

    Attributes:
        structure: Name of its label.
    """

    model_config = FROZEN

    kind: Literal["filled_holes"] = "filled_holes"
    structure: str

    @property
    def sentence(self) -> str:
        """For people."""
        return f"Holes in {self.structure} are filled."


PostprocessSpec = Annotated[
    LargestComponentSpec | MinimumVolumeSpec | FilledHolesSpec, Field(discriminator="kind")
]
"""One step; a bundle holds them in the order in which they are done."""
