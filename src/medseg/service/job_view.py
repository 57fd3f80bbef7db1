"""What is told of a job."""

from typing import Any

from pydantic import BaseModel

from medseg.service.problems import Problem
from medseg.service.service import Service
from medseg.specs.base import FROZEN


class DeliveryView(BaseModel):
    """How far a result is on its way to a destination."""

    model_config = FROZEN

    destination: str
    state: str
    attempts: int
    last_error: str


class ResultView(BaseModel):
    """What was found.

    Attributes:
        volumes_ml: By structure; 0.0 where nothing was found.
        quality: How far to trust the mask; see `medseg.inference.quality.Quality`.
        labels: Name, value and colour of each structure.
        remarks: What was done to the images when they were read.
        files: Names under `/jobs/ID/files/`.
        grid_size: Voxels of the mask.
        spacing_mm: Of its voxels.
    """

    model_config = FROZEN

    volumes_ml: dict[str, float]
    quality: dict[str, Any]
    labels: list[dict[str, Any]]
    remarks: list[str]
    files: list[str]
    grid_size: list[int]
    spacing_mm: list[float]


class JobView(BaseModel):
    """A job, with its result once it is done.

    Attributes:
        id: By which it is asked for.
        state: queued, running, done, failed, dead or cancelled.
        stage: receive, assemble, segment, encode or deliver.
        progress: From 0 to 1.
        model: Name of the bundle.
        rule: Which rule made it; "by hand" where somebody asked for it.
        priority: Smaller ones come first.
        created_at: Seconds since 1970.
        started_at: Seconds since 1970; None while it waits.
        finished_at: Seconds since 1970; None before its end.
        attempts: How often it was begun.
        seconds: By stage, of a job that is done.
        error: Why it is not done, or why the last attempt failed.
        study_uid: Of its series.
        series_uid: None for an image that is no DICOM.
        result: None before it is done.
        deliveries: To each destination.
    """

    model_config = FROZEN

    id: str
    state: str
    stage: str
    progress: float
    model: str
    rule: str
    priority: int
    created_at: float
    started_at: float | None
    finished_at: float | None
    attempts: int
    seconds: dict[str, float]
    error: Problem | None
    study_uid: str | None
    series_uid: str | None
    result: ResultView | None
    deliveries: list[DeliveryView]


class JobList(BaseModel):
    """Several jobs."""

    model_config = FROZEN

    jobs: list[JobView]


def view_of(service: Service, job: dict[str, Any]) -> JobView:
    """What is told of a job by its record."""
    result = service.jobs.result_of(job) if job["state"] == "done" else None
    facts = None if result is None else result["facts"]
    error = None
    if job["error_code"]:
        error = Problem(code=job["error_code"], message=job["error_message"])
    return JobView(
        **{name: job[name] for name in JobView.model_fields if name in job},
        error=error,
        study_uid=service.held.study_of(job["series_uid"]),
        result=None if facts is None else ResultView(
            **{name: facts[name] for name in ResultView.model_fields}
        ),
        deliveries=[
            DeliveryView(**{name: row[name] for name in DeliveryView.model_fields})
            for row in service.jobs.deliveries_of(job)
        ],
    )  # fmt: skip
