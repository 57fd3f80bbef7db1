"""`POST /segment`: one file, many files or a zip in; jobs, or the mask itself, out."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse

from medseg.errors import BadUpload, TooLarge
from medseg.service.auth import Caller, require
from medseg.service.dicom_json import DICOM
from medseg.service.held import Stored
from medseg.service.job_view import JobList, view_of
from medseg.service.jobs import DEFAULT_PRIORITY, ENDED
from medseg.service.multipart import MediaType, Part, media_type_of, read_parts, read_whole
from medseg.service.problems import Problem
from medseg.service.service import Service
from medseg.service.stow import take, told_failures
from medseg.service.work import Options
from medseg.volume.dicom_zip import is_zip, unzipped

_BODIES = ("application/zip", "application/x-zip-compressed", DICOM, "application/gzip",
           "application/x-gzip", "application/octet-stream")  # fmt: skip
_PARTS = ("multipart/form-data", "multipart/related")
_NOT_IMAGES = ("1.2.840.10008.5.1.4.1.1.66", "1.2.840.10008.5.1.4.1.1.88",
               "1.2.840.10008.5.1.4.1.1.481", "1.2.840.10008.5.1.4.1.1.104")  # fmt: skip
_LOOK_SECONDS = 0.05
_BODY = {"schema": {"type": "string", "format": "binary"}}

router = APIRouter(tags=["segmentation"])


@dataclass(frozen=True)
class Wish:
    """How somebody wants it done.

    Attributes:
        model: Name of the bundle; None for the default.
        priority: Smaller ones come first.
        destinations: Where results go.
        options: See `Options`.
    """

    model: str | None
    priority: int
    destinations: tuple[str, ...]
    options: Options


def wish_of(
    model: Annotated[str | None, Query(max_length=255)] = None,
    priority: Annotated[int, Query(ge=1, le=1_000_000)] = DEFAULT_PRIORITY,
    destination: Annotated[list[str] | None, Query(max_length=16)] = None,
    tta: bool = False,
    allow_gaps: bool = False,
) -> Wish:
    """A dependency: the parameters of the query."""
    return Wish(model, priority, tuple(destination or ()), Options(tta=tta, allow_gaps=allow_gaps))


@router.post(
    "/segment",
    status_code=202,
    response_model=JobList,
    responses={
        200: {"content": {DICOM: {}, "application/gzip": {}}},
        **{status: {"model": Problem} for status in (400, 401, 403, 404, 409, 413, 415, 422, 503)},
    },
    openapi_extra={"requestBody": {"content": dict.fromkeys((*_BODIES, _PARTS[0]), _BODY)}},
)
async def segment(
    request: Request,
    caller: Annotated[Caller, Depends(require("send"))],
    wish: Annotated[Wish, Depends(wish_of)],
    wait: bool = False,
    wait_seconds: Annotated[float, Query(gt=0, le=3600)] = 300.0,
) -> Response:
    """Segment DICOM or NIfTI files.

    Each series, and each image that is no DICOM, becomes a job. With `wait` the answer to a single
    one is its mask: a DICOM-SEG for DICOM, a NIfTI file for other images; or 202 with the job if it
    takes longer than `wait_seconds`.
    """
    service: Service = request.app.state.service
    media_type = media_type_of(request.headers.get("content-type"))
    if media_type.kind not in (*_BODIES, *_PARTS):
        problem = Problem(
            code="service-upload",
            message=f"A body is one of {', '.join((*_PARTS, *_BODIES))}.",
        )
        return JSONResponse(problem.model_dump(), status_code=415)
    _require_known(service, wish)
    parts = await _read(request, service, media_type)
    jobs = await run_in_threadpool(_submit, service, parts, caller, wish)
    if not wait or len(jobs) != 1:
        return _told(service, jobs)
    return await _awaited(service, jobs[0], wait_seconds)


def _require_known(service: Service, wish: Wish) -> None:
    """Refuse unknown names before anything is taken in."""
    service.models.get(wish.model)
    known = {one.name for one in service.settings.destinations}
    unknown = [name for name in wish.destinations if name not in known]
    if unknown:
        raise BadUpload(
            "A destination is one of those that were set.",
            received=f"{len(unknown)} others",
            cure=f"Choose of: {', '.join(sorted(known)) or 'none are set'}.",
        )


async def _read(request: Request, service: Service, media_type: MediaType) -> list[Part]:
    limits, folder = service.settings.limits, service.held.incoming
    if media_type.kind in _PARTS:
        return await read_parts(
            request.stream(), media_type.parameters.get("boundary", ""), folder,
            most_bytes=limits.upload_bytes, most_parts=limits.files_per_study,
        )  # fmt: skip
    whole = await read_whole(request.stream(), folder, most_bytes=limits.upload_bytes)
    return [Part(whole, media_type.kind, "", {})]


def _submit(
    service: Service, parts: Sequence[Part], caller: Caller, wish: Wish
) -> list[dict[str, Any]]:
    """Hold what came and make jobs of it.

    Raises:
        BadUpload: If nothing of it is an image.
        TooLarge: If it is too much.
    """
    with TemporaryDirectory(dir=service.held.incoming, prefix="zip-") as folder:
        dicom, others = _sorted(service, parts, FilePath(folder))
        if not dicom and not others:
            raise _nothing("nothing that is DICOM or NIfTI")
        stored = take(service, dicom, caller, None, settle=False)
        digests = []
        for part in others:
            digests.append(service.held.put_upload(part.file, part.name, caller.name))
            service.audit.note("sent", caller.name, "upload", digests[-1], origin=caller.origin)
    series = {one.series_uid: one for one in stored if one.is_held and _is_image(one)}
    if not series and not digests:
        raise _nothing(told_failures(stored) or "no images")
    jobs = [
        service.submit_series(
            uid, sender=caller.name, model=wish.model, options=wish.options,
            destinations=wish.destinations, priority=wish.priority,
        )
        for uid in series
    ]  # fmt: skip
    jobs += [
        service.submit_upload(
            digest, sender=caller.name, model=wish.model, options=wish.options,
            priority=wish.priority,
        )
        for digest in digests
    ]  # fmt: skip
    return jobs


def _sorted(
    service: Service, parts: Sequence[Part], folder: FilePath
) -> tuple[list[Part], list[Part]]:
    """DICOM files, and NIfTI files; zips are unpacked, and what is neither is removed."""
    limits = service.settings.limits
    dicom: list[Part] = []
    others: list[Part] = []
    try:
        for number, part in enumerate(parts):
            files = [part.file]
            if is_zip(part.file):
                place = folder / f"{number:04}"
                place.mkdir()
                files = unzipped(
                    part.file, place, most_bytes=limits.inflated_bytes,
                    most_files=limits.files_per_study,
                )  # fmt: skip
                part.file.unlink()
            for file in files:
                kind = _kind_of(file)
                if kind == "dicom":
                    dicom.append(Part(file, DICOM, part.name, {}))
                elif kind == "nifti":
                    others.append(Part(file, "", part.name or "image.nii.gz", {}))
                else:
                    file.unlink()
    except BaseException:
        for part in parts:
            part.file.unlink(missing_ok=True)
        raise
    if len(dicom) + len(others) > limits.files_per_study:
        raise TooLarge(
            "A request holds no more files than limits.files_per_study.",
            received=str(len(dicom) + len(others)),
            cure="Send them in several requests.",
        )
    return dicom, others


def _kind_of(file: FilePath) -> str:
    """What a file is by its first bytes: "dicom", "nifti" or ""."""
    with file.open("rb") as opened:
        head = opened.read(352)
    if head[128:132] == b"DICM":
        return "dicom"
    if head[:2] == b"\x1f\x8b" or head[344:348] in (b"n+1\0", b"n+2\0") or head[4:8] == b"n+2\0":
        return "nifti"
    return ""


def _is_image(one: Stored) -> bool:
    return not one.sop_class_uid.startswith(_NOT_IMAGES)


def _told(service: Service, jobs: Sequence[dict[str, Any]]) -> JSONResponse:
    views = [view_of(service, job) for job in jobs]
    headers = {"Location": f"/jobs/{jobs[0]['id']}"} if len(jobs) == 1 else None
    return JSONResponse(
        JobList(jobs=views).model_dump(mode="json"), status_code=202, headers=headers
    )


async def _awaited(service: Service, job: dict[str, Any], seconds: float) -> Response:
    """The mask, when it is there; what went wrong, if it did; the job, if it takes longer."""
    until = time.monotonic() + seconds
    while job["state"] not in ENDED:
        if time.monotonic() > until:
            return _told(service, [job])
        await asyncio.sleep(_LOOK_SECONDS)
        job = await run_in_threadpool(service.jobs.get, job["id"])
    result = await run_in_threadpool(service.jobs.result_of, job)
    if job["state"] != "done" or result is None:
        problem = Problem(code=job["error_code"], message=job["error_message"])
        status = 422 if job["state"] == "failed" else 409
        return JSONResponse(problem.model_dump(), status_code=status)
    folder = service.settings.data / result["folder"]
    headers = {"Location": f"/jobs/{job['id']}", "Cache-Control": "no-store"}
    if (folder / "seg.dcm").is_file():
        return FileResponse(folder / "seg.dcm", media_type=DICOM, headers=headers)
    return FileResponse(folder / "mask.nii.gz", media_type="application/gzip", headers=headers)


def _nothing(received: str) -> BadUpload:
    return BadUpload(
        "What is to be segmented is DICOM images or NIfTI.",
        received=received,
        cure="Send the files of a series, a zip of them, or a NIfTI file.",
    )
