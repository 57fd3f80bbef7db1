"""How long things are held: by age, and by size with the oldest first. Work to be done is kept."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, func, select

from medseg.service.database import deliveries, instances, jobs, now, results, uploads
from medseg.service.jobs import PENDING
from medseg.service.publish import working_folder
from medseg.service.service import Service

_DAY_SECONDS = 86_400.0
_LEFTOVER_SECONDS = 3_600.0

_log = logging.getLogger("medseg.service.retention")


@dataclass(frozen=True)
class _Thing:
    """A study with its results, or an upload with its results."""

    kind: str
    name: str
    size_bytes: int
    used_at: float


def retain(service: Service) -> int:
    """Remove what is too old or too much, and what crashes left behind; how many things.

    Studies and uploads with a job that waits or runs stay, and so do studies with a result that is
    still to be delivered.
    """
    retention = service.settings.retention
    sweep_incoming(service)
    if retention.days is None and retention.bytes is None:
        return 0
    things = sorted(_things(service), key=lambda thing: thing.used_at)
    total = sum(thing.size_bytes for thing in things)
    removed = 0
    oldest = 0.0 if retention.days is None else now() - retention.days * _DAY_SECONDS
    for thing in things:
        too_much = retention.bytes is not None and total > retention.bytes
        if thing.used_at >= oldest and not too_much:
            break
        _remove(service, thing)
        total -= thing.size_bytes
        removed += 1
    if removed:
        _log.info("retention.removed", extra={"count": removed})
    return removed


def sweep_incoming(service: Service) -> int:
    """Remove files that no request or job writes any more: a crash left them; how many."""
    swept = 0
    with service.database.reading() as connection:
        busy = connection.execute(
            select(jobs.c.key, jobs.c.id).where(jobs.c.state.in_(PENDING))
        ).all()
    kept = {Path(working_folder(row.key, row.id)).name for row in busy}
    for path in service.held.incoming.iterdir():
        if path.name in kept:
            continue
        try:
            if now() - path.stat().st_mtime < _LEFTOVER_SECONDS:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        except FileNotFoundError:
            continue
        swept += 1
    return swept


def _things(service: Service) -> list[_Thing]:
    busy_series = select(jobs.c.series_uid).where(
        jobs.c.state.in_(PENDING), jobs.c.series_uid.is_not(None)
    )
    busy_uploads = select(jobs.c.upload_digest).where(
        jobs.c.state.in_(PENDING), jobs.c.upload_digest.is_not(None)
    )
    undelivered = select(deliveries.c.key).where(deliveries.c.state == "waiting")
    with service.database.reading() as connection:
        busy = set(
            connection.execute(
                select(instances.c.study_uid).where(
                    instances.c.series_uid.in_(busy_series)
                    | instances.c.result_key.in_(undelivered)
                )
            ).scalars()
        )
        studies = connection.execute(
            select(
                instances.c.study_uid,
                func.sum(instances.c.size_bytes),
                func.max(instances.c.received_at),
            ).group_by(instances.c.study_uid)
        ).all()
        own: dict[str, int] = {}
        for uid, size_bytes in connection.execute(
            select(instances.c.study_uid, results.c.size_bytes).join(
                results, results.c.sop_uid == instances.c.sop_uid
            )
        ):
            own[uid] = own.get(uid, 0) + size_bytes
        files = connection.execute(
            select(uploads.c.digest, uploads.c.size_bytes, uploads.c.received_at).where(
                uploads.c.digest.not_in(busy_uploads)
            )
        ).all()
    things = [
        _Thing("study", uid, int(size) + own.get(uid, 0), at)
        for uid, size, at in studies
        if uid not in busy
    ]
    return things + [_Thing("upload", digest, int(size), at) for digest, size, at in files]


def _remove(service: Service, thing: _Thing) -> None:
    if thing.kind == "study":
        service.held.delete_study(thing.name)
        service.audit.note("deleted", "service", "study", thing.name, outcome="retention")
        return
    of_upload = select(jobs.c.id).where(jobs.c.upload_digest == thing.name)
    with service.database.begin() as connection:
        chosen = results.c.job_id.in_(of_upload)
        folders = connection.execute(select(results.c.folder).where(chosen)).scalars().all()
        connection.execute(delete(results).where(chosen))
        connection.execute(delete(uploads).where(uploads.c.digest == thing.name))
    for folder in folders:
        shutil.rmtree(service.settings.data / folder, ignore_errors=True)
    for path in service.settings.data.glob(f"uploads/{thing.name[:2]}/{thing.name}.nii*"):
        path.unlink(missing_ok=True)
    service.audit.note("deleted", "service", "upload", thing.name, outcome="retention")
