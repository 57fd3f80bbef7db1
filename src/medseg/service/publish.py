"""A result becomes known once: files in their place, its row, its SEG among the instances.

The key of the result is the fence: step bodies may run twice, in two processes even, and the second
one finds the row and leaves.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from medseg.files import sha256
from medseg.service.database import Database, deliveries, instances, now, results
from medseg.service.headers import read_header
from medseg.service.jobs import Jobs

_DICOM = ("seg.dcm", "measurements.dcm")


def result_folder(key: str) -> str:
    """Where the files of a result lie in the data folder."""
    return f"results/{key[:2]}/{key}"


def working_folder(key: str, job_id: str) -> str:
    """Where a job writes them before they are known."""
    return f"incoming/{key[:16]}-{job_id}"


def publish(
    database: Database,
    jobs: Jobs,
    data: Path,
    job: dict[str, Any],
    facts: dict[str, Any],
    seconds: dict[str, float],
) -> bool:
    """Make a result known and its job done, in one transaction; whether it was not known before.

    Args:
        database: The tables.
        jobs: The records of jobs.
        data: The data folder.
        job: The record of the job.
        facts: What `Segmenter.encode` says.
        seconds: By stage.
    """
    key, job_id = job["key"], job["id"]
    written, place = data / working_folder(key, job_id), data / result_folder(key)
    with database.begin() as connection:
        known = connection.execute(select(results.c.key).where(results.c.key == key)).first()
        if known is None:
            if written.is_dir():
                _move(written, place)
            rows = _instances(place, result_folder(key), key)
            sop_uid = rows[0]["sop_uid"] if rows else None
            connection.execute(
                insert(results).values(
                    key=key, job_id=job_id, folder=result_folder(key), sop_uid=sop_uid,
                    facts=facts, size_bytes=facts["size_bytes"], published_at=now(),
                )
            )  # fmt: skip
            for values in rows:
                connection.execute(insert(instances).values(values))
        for name in job["destinations"]:
            _into_outbox(connection, key, name)
        jobs.finish(connection, job_id, seconds)
    shutil.rmtree(written, ignore_errors=True)
    return known is None


def _into_outbox(connection: Any, key: str, destination: str) -> None:
    there = select(deliveries.c.id).where(
        deliveries.c.key == key, deliveries.c.destination == destination
    )
    if connection.execute(there).first() is None:
        connection.execute(
            insert(deliveries).values(
                key=key, destination=destination, state="waiting", attempts=0, next_at=now(),
                leased_until=0.0, last_error="", accepted_at=None,
            )
        )  # fmt: skip


def _move(written: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(place, ignore_errors=True)  # of a publication that was cut off before its row
    written.replace(place)


def _instances(place: Path, relative: str, key: str) -> Sequence[dict[str, Any]]:
    """Rows of the DICOM files of a result; the segmentation first. Their bytes count as results."""
    rows = []
    for name in _DICOM:
        path = place / name
        if not path.is_file():
            continue
        header = read_header(path, inflated_bytes=2**31)
        rows.append(
            {
                "sop_uid": header.sop_uid,
                "series_uid": header.series_uid,
                "study_uid": header.study_uid,
                "sop_class_uid": header.sop_class_uid,
                "transfer_syntax_uid": header.transfer_syntax_uid,
                "digest": sha256(path),
                "path": f"{relative}/{name}",
                "size_bytes": 0,
                "frames": header.frames,
                "header": header.attributes,
                "sender": "medseg",
                "received_at": now(),
                "result_key": key,
            }
        )
    return rows
