"""`/jobs`: what becomes of what was sent, and its files."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, StreamingResponse

from medseg.errors import NotHeld
from medseg.service.auth import Caller, require
from medseg.service.job_view import JobList, JobView, view_of
from medseg.service.jobs import ENDED, State
from medseg.service.problems import Problem
from medseg.service.service import Service
from medseg.service.slices import ResultFiles
from medseg.volume.labels import Label

FileName = Literal["seg.dcm", "mask.nii.gz", "image.nii.gz", "measurements.dcm", "report.json"]

_MEDIA_TYPES = {
    "dcm": "application/dicom",
    "gz": "application/gzip",
    "json": "application/json",
}
_LOOK_SECONDS = 0.2
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (401, 403, 404, 409)
}

router = APIRouter(tags=["jobs"], responses=_PROBLEMS)
Asker = Annotated[Caller, Depends(require("send", "read"))]
Admin = Annotated[Caller, Depends(require("admin"))]
JobId = Annotated[str, Path(max_length=64)]


@router.get("/jobs")
def jobs(
    request: Request,
    asker: Asker,
    state: Annotated[list[State] | None, Query(max_length=6)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> JobList:
    """Jobs, the newest first; whoever may only send sees their own."""
    service: Service = request.app.state.service
    found = service.jobs.newest(
        states=tuple(state or ()), asker=asker.sees_only, limit=limit, offset=offset
    )
    return JobList(jobs=[view_of(service, one) for one in found])


def job_of(request: Request, job_id: JobId, asker: Asker) -> dict[str, Any]:
    """A dependency: the record of the job that a path names, if the asker may see it.

    Raises:
        NotHeld: If there is none, or it is another one's.
    """
    service: Service = request.app.state.service
    found = service.jobs.get(job_id)
    if asker.sees_only and not service.jobs.is_asked_for_by(found, asker.sees_only):
        raise NotHeld(
            "A job is asked for by the id that was given for it.",
            received="an id of no job",
            cure="GET /jobs lists those there are.",
        )
    return found


Job = Annotated[dict[str, Any], Depends(job_of)]


@router.get("/jobs/{job_id}")
def job(request: Request, found: Job) -> JobView:
    """One job."""
    return view_of(request.app.state.service, found)


@router.delete("/jobs/{job_id}")
def cancel(request: Request, found: Job, admin: Admin) -> JobView:
    """End a job that waits or runs."""
    service: Service = request.app.state.service
    ended = service.jobs.cancel(found["id"])
    service.audit.note(
        "changed", admin.name, "job", found["id"], outcome="cancelled", origin=admin.origin
    )
    return view_of(service, ended)


@router.post("/jobs/{job_id}/retry", status_code=202)
def retry(request: Request, found: Job, admin: Admin) -> JobView:
    """Queue a job again that was given up, failed or was cancelled."""
    service: Service = request.app.state.service
    again = service.retry(found["id"])
    service.audit.note(
        "changed", admin.name, "job", found["id"], outcome="retried", origin=admin.origin
    )
    return view_of(service, again)


@router.get(
    "/jobs/{job_id}/events",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def events(request: Request, found: Job) -> StreamingResponse:
    """State, stage and progress whenever they change, until the end (server-sent events)."""
    service: Service = request.app.state.service
    return StreamingResponse(
        _events(service, found), media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )  # fmt: skip


async def _events(service: Service, job: dict[str, Any]) -> AsyncIterator[str]:
    told = None
    while True:
        facts = {name: job[name] for name in ("state", "stage", "progress", "attempts")}
        if facts != told:
            told = facts
            yield f"event: job\ndata: {json.dumps(facts)}\n\n"
        if job["state"] in ENDED:
            return
        await asyncio.sleep(_LOOK_SECONDS)
        job = await run_in_threadpool(service.jobs.get, job["id"])


def files_of(request: Request, found: Job, asker: Asker) -> ResultFiles:
    """A dependency: the files of a job's result.

    Raises:
        NotHeld: If it has none.
    """
    service: Service = request.app.state.service
    result = service.jobs.result_of(found) if found["state"] == "done" else None
    folder = None if result is None else service.settings.data / result["folder"]
    if result is None or folder is None or not folder.is_dir():
        raise NotHeld(
            "Only a job that is done has files, for as long as they are held.",
            received=f"a job that is {found['state']}",
            cure="Wait for its end, or send the study again.",
        )
    labels = tuple(Label.model_validate(one) for one in result["facts"]["labels"])
    return ResultFiles(folder, labels)


def viewed_files_of(
    request: Request, found: Job, files: Annotated[ResultFiles, Depends(files_of)], asker: Asker
) -> ResultFiles:
    """A dependency: the same for a viewer, which asks for hundreds of slices: noted once."""
    service: Service = request.app.state.service
    service.audit.note(
        "read", asker.name, "job", found["id"], origin=asker.origin, every_seconds=600.0
    )
    return files


@router.get("/jobs/{job_id}/files/{name}", response_class=FileResponse)
def file(
    request: Request, found: Job, files: Annotated[ResultFiles, Depends(files_of)],
    name: FileName, asker: Asker,
) -> FileResponse:  # fmt: skip
    """One file of a result."""
    path = files.folder / name
    if not path.is_file():
        raise NotHeld(
            "A result has the files that its job lists.",
            received=name,
            cure="See result.files of the job.",
        )
    service: Service = request.app.state.service
    service.audit.note("read", asker.name, "job", found["id"], origin=asker.origin)
    kind = _MEDIA_TYPES[name.rsplit(".", 1)[-1]]
    return FileResponse(path, media_type=kind, filename=name, headers={"Cache-Control": "no-store"})
