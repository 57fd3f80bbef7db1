"""STOW-RS: studies come in (PS3.18, 10.5)."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from medseg.errors import NoRoom
from medseg.service.auth import Caller, require
from medseg.service.dicom_json import DICOM, DICOM_JSON, element
from medseg.service.held import NOT_UNDERSTOOD, Stored
from medseg.service.multipart import MediaType, Part, media_type_of, read_parts, read_whole
from medseg.service.service import Service

Uid = Annotated[str, Path(pattern=r"^[0-9.]{1,64}$")]

_ALL, _SOME, _NONE = 200, 202, 409
_REASONS = {
    0xA700: "out of resources", 0xA900: "data set does not match", 0xC000: "cannot understand",
    0x0111: "duplicate SOP instance",
}  # fmt: skip

router = APIRouter(prefix="/dicomweb", tags=["DICOMweb"])


@router.post("/studies", responses={202: {}, 409: {}, 415: {}, 413: {}, 400: {}})
async def store(
    request: Request, sender: Annotated[Caller, Depends(require("send"))]
) -> JSONResponse:
    """Store instances of any studies: `multipart/related; type="application/dicom"`."""
    return await _store(request, sender, None)


@router.post("/studies/{study_uid}", responses={202: {}, 409: {}, 415: {}, 413: {}, 400: {}})
async def store_in(
    study_uid: Uid, request: Request, sender: Annotated[Caller, Depends(require("send"))]
) -> JSONResponse:
    """Store instances of one study; those of another one are refused."""
    return await _store(request, sender, study_uid)


async def _store(request: Request, sender: Caller, study_uid: str | None) -> JSONResponse:
    service: Service = request.app.state.service
    media_type = media_type_of(request.headers.get("content-type"))
    if not is_storable(media_type):
        return JSONResponse(
            {
                "code": "service-upload",
                "message": 'Studies are stored as multipart/related; type="application/dicom".',
            },
            status_code=415,
        )
    parts = await dicom_parts(request, service, media_type)
    stored = await run_in_threadpool(take, service, parts, sender, study_uid)
    answer, status = answer_of(stored, str(request.base_url).rstrip("/"))
    return JSONResponse(answer, status_code=status, media_type=DICOM_JSON)


def is_storable(media_type: MediaType) -> bool:
    """Whether a body holds DICOM files: several in parts, or one alone."""
    if media_type.kind == DICOM:
        return True
    inner = media_type.parameters.get("type", DICOM).lower()
    return media_type.kind == "multipart/related" and inner == DICOM


async def dicom_parts(request: Request, service: Service, media_type: MediaType) -> list[Part]:
    """Write the instances of a body to disk.

    Raises:
        BadUpload: If the body goes against the grammar.
        TooLarge: If it has too many bytes or parts.
    """
    limits, folder = service.settings.limits, service.held.incoming
    if media_type.kind == DICOM:
        whole = await read_whole(request.stream(), folder, most_bytes=limits.upload_bytes)
        return [Part(whole, DICOM, "", {})]
    return await read_parts(
        request.stream(),
        media_type.parameters.get("boundary", ""),
        folder,
        most_bytes=limits.upload_bytes,
        most_parts=limits.files_per_study,
    )


def take(
    service: Service,
    parts: Sequence[Part],
    sender: Caller,
    study_uid: str | None,
    *,
    settle: bool = True,
) -> list[Stored]:
    """Hold the instances that arrived, and note who sent them.

    Args:
        service: Where they are held.
        parts: The files; they are moved or removed.
        sender: Who sent them.
        study_uid: The study that they must be of; None for any.
        settle: Whether rules shall look at their series when they are complete.
    """
    stored = []
    for part in parts:
        if part.media_type not in ("", DICOM, "application/octet-stream"):
            part.file.unlink(missing_ok=True)
            stored.append(Stored("refused", failure=NOT_UNDERSTOOD, message="no application/dicom"))
            continue
        one = service.held.put(part.file, sender.name, study_uid=study_uid)
        stored.append(one)
    if settle:
        whole = all(one.is_held for one in stored)
        settings = service.settings
        for one in stored:
            service.arrived(one, settings.settle_seconds if whole else settings.incomplete_seconds)
    kept = {one.study_uid for one in stored if one.is_held}
    for uid in kept:
        service.audit.note("sent", sender.name, "study", uid, origin=sender.origin)
    if not kept and any(one.message.startswith("What is held stays") for one in stored):
        raise NoRoom(
            "What is held stays within the quota and on the disk.",
            cure="Delete studies, set a retention, or raise retention.quota_bytes.",
        )
    return stored


def answer_of(stored: Sequence[Stored], base_url: str) -> tuple[dict[str, Any], int]:
    """The Store Instances Response (PS3.18, 10.5.3 and annex I.2) and its status.

    Args:
        stored: What became of each instance.
        base_url: Of the service.
    """
    held = [one for one in stored if one.is_held]
    failed = [one for one in stored if not one.is_held]
    answer: dict[str, Any] = {}
    studies = {one.study_uid for one in held}
    if len(studies) == 1:
        answer |= element("RetrieveURL", f"{base_url}/dicomweb/studies/{studies.pop()}")
    if held:
        answer |= element("ReferencedSOPSequence", *(_referenced(one, base_url) for one in held))
    named = [one for one in failed if one.sop_uid]
    if named:
        answer |= element("FailedSOPSequence", *(_failed(one) for one in named))
    nameless = [one for one in failed if not one.sop_uid]
    if nameless:
        answer |= element(
            "OtherFailuresSequence",
            *(element("FailureReason", one.failure or NOT_UNDERSTOOD) for one in nameless),
        )
    if held and not failed:
        return answer, _ALL
    return answer, _SOME if held else _NONE


def _referenced(one: Stored, base_url: str) -> dict[str, Any]:
    url = (
        f"{base_url}/dicomweb/studies/{one.study_uid}/series/{one.series_uid}"
        f"/instances/{one.sop_uid}"
    )
    return {
        **element("ReferencedSOPClassUID", one.sop_class_uid),
        **element("ReferencedSOPInstanceUID", one.sop_uid),
        **element("RetrieveURL", url),
    }


def _failed(one: Stored) -> dict[str, Any]:
    return {
        **element("ReferencedSOPClassUID", one.sop_class_uid),
        **element("ReferencedSOPInstanceUID", one.sop_uid),
        **element("FailureReason", one.failure or NOT_UNDERSTOOD),
    }


def told_failures(stored: Sequence[Stored]) -> str:
    """Why instances were refused, in words."""
    counted = Counter(_REASONS.get(one.failure or 0, "refused") for one in stored if one.failure)
    return ", ".join(f"{count} x {reason}" for reason, count in counted.items())
