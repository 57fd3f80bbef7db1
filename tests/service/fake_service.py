"""A service with the routes that the page talks to and nothing behind them, for its tests.

A study becomes a job that runs through all stages and ends with the mask of whatever is bright.
"""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import uvicorn
from fastapi import FastAPI, File, Header, HTTPException, Request, Response, UploadFile
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from medseg.errors import MedsegError, NotHeld
from medseg.service.page_files import page_routes
from medseg.service.slices import ResultFiles
from medseg.service.viewing import viewing_routes
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_volume, write_label_map, write_volume
from medseg.volume.labels import Label, Labels
from medseg.volume.volume import LabelMap, Volume

LABELS: Labels = (
    Label(value=1, name="Anterior", colour="#e69f00"),
    Label(value=2, name="Posterior", colour="#56b4e9"),
)
STAGES = ("receive", "assemble", "segment", "encode", "deliver")


def write_phantom(path: Path) -> Path:
    """A head with two bright things in it, on a grid that is oblique to none of the axes."""
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 48, 32)), indexing="ij")
    head = i**2 + j**2 + k**2 < 0.85
    array = np.where(head, 420.0, 20.0) + np.random.default_rng(0).normal(0, 12, head.shape)
    array[(i + 0.3) ** 2 + (j - 0.3) ** 2 + k**2 < 0.09] = 800.0
    array[(i + 0.3) ** 2 + (j + 0.35) ** 2 + (k / 1.3) ** 2 < 0.08] = 600.0
    geometry = Geometry.from_spacing((1.0, 1.0, 1.5), (40, 48, 32))
    write_volume(Volume(array[np.newaxis].astype(np.int16), geometry, ("MR",)), path)
    return path


def segment(folder: Path) -> dict[str, Any]:
    """Write `mask.nii.gz` beside `image.nii.gz`; gives what a result says of itself."""
    image = read_volume(folder / "image.nii.gz")
    values = np.digitize(image.array[0], (500, 700))
    mask = LabelMap(np.choose(values, (0, 2, 1)).astype(np.uint8), image.geometry, LABELS)
    write_label_map(mask, folder / "mask.nii.gz")
    for name in ("seg.dcm", "report.json"):
        (folder / name).write_text("{}")
    flag = "Posterior is larger than in 99 of 100 training cases."
    return {
        "volumes_ml": mask.volumes_ml(),
        "quality": {
            "score": 0.91, "expected_dice": {"Anterior": 0.93, "Posterior": 0.89},
            "flags": [{"kind": "outside_training_range", "structure": "Posterior", "what": flag}],
        },
        "labels": [label.model_dump(include={"value", "name", "colour"}) for label in LABELS],
        "remarks": [],
        "files": ["seg.dcm", "mask.nii.gz", "image.nii.gz", "report.json"],
        "grid_size": list(image.geometry.grid_size),
        "spacing_mm": list(image.geometry.spacing_mm),
    }  # fmt: skip


@dataclass
class FakeService:
    """Jobs in memory.

    Attributes:
        data: Where results lie.
        key: What must be sent, or "" for nothing.
        stage_seconds: How long each stage takes.
        sent: Names of the files of each request.
    """

    data: Path
    key: str = ""
    stage_seconds: float = 0.05
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    sent: list[list[str]] = field(default_factory=list)

    def submit(self, content: bytes, model: str) -> dict[str, Any]:
        name = f"{len(self.jobs) + 1:08d}-0000"
        job: dict[str, Any] = {
            "id": name, "state": "queued", "stage": "receive", "progress": 0.0, "model": model,
            "rule": "", "priority": 100, "created_at": time.time(), "started_at": None,
            "finished_at": None, "attempts": 0, "seconds": {}, "error": None, "series_uid": None,
            "study_uid": None, "result": None, "deliveries": [],
        }  # fmt: skip
        self.jobs[name] = job
        (self.data / name).mkdir()
        (self.data / name / "image.nii.gz").write_bytes(content)
        threading.Thread(target=self._run, args=(job,), daemon=True).start()
        return job

    def retry(self, job_id: str) -> dict[str, Any]:
        job = self.job(job_id)
        job.update(state="queued", error=None)
        threading.Thread(target=self._run, args=(job,), daemon=True).start()
        return job

    def _run(self, job: dict[str, Any]) -> None:
        time.sleep(self.stage_seconds)
        job.update(state="running", attempts=job["attempts"] + 1, started_at=time.time())
        for stage in STAGES:
            job.update(stage=stage, progress=0.0)
            for step in (0.3, 0.6, 1.0):
                time.sleep(self.stage_seconds / 3)
                if job["state"] == "cancelled":
                    return
                job["progress"] = step
            job["seconds"][stage] = self.stage_seconds
        try:
            result = segment(self.data / job["id"])
            job.update(state="done", result=result, finished_at=time.time())
        except MedsegError as error:
            told = {"code": error.code, "message": str(error)}
            job.update(state="failed", error=told, finished_at=time.time())

    def job(self, job_id: str) -> dict[str, Any]:
        try:
            return self.jobs[job_id]
        except KeyError:
            raise NotHeld("There is no such job.", received=job_id) from None

    async def told(self, job_id: str) -> AsyncIterator[str]:
        """Server-sent events until the job has ended."""
        while True:
            job = self.job(job_id)
            facts = {name: job[name] for name in ("state", "stage", "progress")}
            yield f"event: job\ndata: {json.dumps(facts)}\n\n"
            if job["state"] not in ("queued", "running"):
                return
            await asyncio.sleep(0.02)

    def files_of(self, job_id: str) -> ResultFiles:
        self.job(job_id)
        return ResultFiles(self.data / job_id, LABELS)


def app_of(fake: FakeService) -> FastAPI:
    """The routes of the page, of viewers, and the few that the page needs beside them."""
    app = FastAPI()
    _guard(app, fake)
    _take_studies(app, fake)
    _tell_of_jobs(app, fake)
    app.include_router(viewing_routes(fake.files_of))
    app.include_router(page_routes())
    return app


def _guard(app: FastAPI, fake: FakeService) -> None:
    @app.middleware("http")
    async def guard(request: Request, go_on: Any) -> Response:
        path, given = request.url.path, request.headers.get("authorization")
        is_open = path == "/" or path.startswith("/page/")
        if fake.key and not is_open and given != f"Bearer {fake.key}":
            return JSONResponse({"code": "service-not-allowed", "message": "A key."}, 401)
        answer: Response = await go_on(request)
        return answer

    @app.exception_handler(MedsegError)
    async def problem(_: Request, error: MedsegError) -> Response:
        return JSONResponse({"code": error.code, "message": str(error)}, 404)


def _take_studies(app: FastAPI, fake: FakeService) -> None:
    @app.get("/models")
    def models() -> dict[str, Any]:
        return {"models": [{"name": "phantom", "labels": [{"name": x.name} for x in LABELS]}]}

    @app.post("/segment", status_code=202)
    async def take(model: str, files: Annotated[list[UploadFile], File()]) -> dict[str, Any]:
        fake.sent.append(sorted(str(file.filename) for file in files))
        return {"jobs": [fake.submit(await files[0].read(), model)]}


def _tell_of_jobs(app: FastAPI, fake: FakeService) -> None:
    @app.get("/jobs")
    def jobs(limit: int) -> dict[str, Any]:
        return {"jobs": list(fake.jobs.values())[-limit:]}

    @app.get("/jobs/{job_id}")
    def job(job_id: str) -> dict[str, Any]:
        return fake.job(job_id)

    @app.delete("/jobs/{job_id}")
    def cancel(job_id: str) -> dict[str, Any]:
        error = {"code": "service-job", "message": "Cancelled."}
        fake.job(job_id).update(state="cancelled", error=error)
        return fake.job(job_id)

    @app.post("/jobs/{job_id}/retry", status_code=202)
    def retry(job_id: str) -> dict[str, Any]:
        return fake.retry(job_id)

    @app.get("/jobs/{job_id}/events")
    async def events(job_id: str, accept: Annotated[str, Header()]) -> Response:
        if accept != "text/event-stream":
            raise HTTPException(406)
        return StreamingResponse(fake.told(job_id), media_type="text/event-stream")

    @app.get("/jobs/{job_id}/files/{name}")
    def file(job_id: str, name: str) -> Response:
        return FileResponse(fake.files_of(job_id).folder / Path(name).name)


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Run an app on a free port of loopback; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(20)
