"""Routes for viewers: which slices a result has, and each of them as a picture."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, Field

from medseg.service.slices import HungResults, Plane, ResultFiles
from medseg.specs.base import FROZEN
from medseg.volume.labels import LARGEST_LABEL

_PRIVATE = {"Cache-Control": "no-store"}
"""Pictures of patients are kept by no cache."""

Value = Annotated[int, Field(ge=0, le=LARGEST_LABEL)]


class StackFacts(BaseModel):
    """The slices of one plane.

    Attributes:
        count: How many there are.
        rows: Of each.
        columns: Of each.
        pixel_mm: Width and height of a pixel.
        letters: Which side of the patient lies left, right, on top and at the bottom.
        fullest: The slice with most voxels of the mask; the middle one if it is empty.
    """

    model_config = FROZEN

    count: int
    rows: int
    columns: int
    pixel_mm: tuple[float, float]
    letters: tuple[str, str, str, str]
    fullest: int


def viewing_routes(files_of: Callable[..., ResultFiles]) -> APIRouter:
    """Routes under `/jobs/{job_id}/slices`.

    Args:
        files_of: A dependency that takes `job_id` from the path and gives the files of its
            result; it raises what there is to say against it (`NotHeld`, `NotAllowed`).
    """
    router = APIRouter(tags=["results"])
    kept = HungResults()
    Files = Annotated[ResultFiles, Depends(files_of)]

    @router.get("/jobs/{job_id}/slices")
    def slices(files: Files, response: Response) -> dict[Plane, StackFacts]:
        """How many slices each plane has, how large they are and which one shows most."""
        response.headers.update(_PRIVATE)
        hung = kept.of(files)
        planes: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
        return {plane: StackFacts(**vars(hung.stack(plane))) for plane in planes}

    @router.get(
        "/jobs/{job_id}/slices/{axis}/{index}.png",
        response_class=Response,
        responses={200: {"content": {"image/png": {}}}},
    )
    def picture(
        files: Files,
        axis: Plane,
        index: Annotated[int, Path(ge=0, le=65_535)],
        overlay: bool = True,
        opacity: Annotated[float, Query(ge=0, le=1)] = 0.5,
        hidden: Annotated[list[Value] | None, Query(max_length=1024)] = None,
    ) -> Response:
        """One slice as a PNG, the patient's right on the left; `hidden` are values of the mask."""
        shown = kept.of(files).png(
            axis, index, opacity=opacity if overlay else 0.0, hidden=frozenset(hidden or ())
        )
        return Response(shown, media_type="image/png", headers=_PRIVATE)

    return router
