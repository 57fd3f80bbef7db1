"""What the service can do and how it is set, what did not agree, and the end of studies."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel
from sqlalchemy import select

from medseg.errors import NotHeld
from medseg.service.auth import Caller, require
from medseg.service.database import conflicts
from medseg.service.service import Service
from medseg.service.settings import Rule
from medseg.service.stow import Uid
from medseg.specs.base import FROZEN

router = APIRouter(tags=["operation"])
Anyone = Annotated[Caller, Depends(require("send", "read"))]
Reader = Annotated[Caller, Depends(require("read"))]
Admin = Annotated[Caller, Depends(require("admin"))]


class ModelView(BaseModel):
    """A bundle that may be asked for.

    Attributes:
        name: By which it is asked for.
        digest: Changes with the bundle.
        dataset: What it learned from.
        modality: Of its first channel, in DICOM's word.
        channels: How many images it sees.
        labels: Name, value and colour of each structure.
    """

    model_config = FROZEN

    name: str
    digest: str
    dataset: str
    modality: str
    channels: int
    labels: list[dict[str, Any]]


class ModelList(BaseModel):
    """The bundles; the first is the default."""

    model_config = FROZEN

    models: list[ModelView]


class ConflictView(BaseModel):
    """Something that arrived and did not agree with what was held; see the table of conflicts."""

    model_config = FROZEN

    sop_uid: str
    series_uid: str
    kind: str
    sender: str
    at: float


@router.get("/models")
def models(request: Request, asker: Anyone) -> ModelList:
    """The bundles that may be asked for."""
    service: Service = request.app.state.service
    return ModelList(
        models=[
            ModelView(
                name=one.name, digest=one.digest, dataset=one.dataset, modality=one.modality,
                channels=one.channels, labels=list(one.labels),
            )
            for one in service.models.every()
        ]
    )  # fmt: skip


@router.get("/rules")
def rules(request: Request, reader: Reader) -> list[Rule]:
    """Which series goes where; the first one that fits counts."""
    service: Service = request.app.state.service
    return list(service.rules)


@router.get("/destinations")
def destinations(request: Request, reader: Reader) -> list[dict[str, str]]:
    """Names and kinds of where results can go."""
    service: Service = request.app.state.service
    return [{"name": one.name, "kind": one.kind} for one in service.settings.destinations]


@router.get("/conflicts")
def every_conflict(
    request: Request, reader: Reader, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[ConflictView]:
    """Instances that did not agree with what was held, the newest first."""
    service: Service = request.app.state.service
    wanted = select(conflicts).order_by(conflicts.c.id.desc()).limit(limit)
    with service.database.reading() as connection:
        found = [dict(row._mapping) for row in connection.execute(wanted)]
    return [ConflictView(**{name: row[name] for name in ConflictView.model_fields})
            for row in found]  # fmt: skip


@router.delete("/dicomweb/studies/{study_uid}", status_code=204, tags=["DICOMweb"])
def delete(study_uid: Uid, request: Request, admin: Admin) -> Response:
    """Remove a study and its results. Records of jobs and the audit log stay."""
    service: Service = request.app.state.service
    if service.held.delete_study(study_uid) == 0:
        raise NotHeld(
            "What is asked for is held here.",
            received="an identifier of nothing that is held",
            cure="GET /dicomweb/studies lists what is held.",
        )
    service.audit.note("deleted", admin.name, "study", study_uid, origin=admin.origin)
    return Response(status_code=204)
