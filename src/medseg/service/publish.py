"""A result becomes known once: files in their place, its row, its SEG among the instances.

The key of the result is the fence: step bodies may run twice, in two processes even, and the second
one finds the row and leaves.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from medseg.errors import JobFailed
from medseg.service.database import Database, instances, now, results
from medseg.service.database import jobs as records
from medseg.service.deliveries import promise
from medseg.service.headers import content_digest, read_header
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

    Nothing becomes known of a job that was ended meanwhile, as when its study was deleted.

    Args:
        database: The tables.
        jobs: The records of jobs.
        data: The data folder.
        job: The record of the job.
        facts: What `Segmenter.encode` says.
        seconds: By stage.

    Raises:
        JobFailed: If the files are gone that an earlier stage wrote.
    """
    key, job_id = job["key"], job["id"]
    written, place = data / working_folder(key, job_id), data / result_folder(key)
    is_new, sent_back = False, []
    with database.begin() as connection:
        if jobs.finish(connection, job_id, seconds):
            found = connection.execute(select(results.c.key).where(results.c.key == key)).first()
            is_new = found is None
            if is_new:
                sent_back = _make_known(connection, written, place, job, facts)
            wanted = select(records.c.destinations).where(records.c.id == job_id)
            for name in connection.execute(wanted).scalar_one():  # more may have been asked for
                promise(connection, key, name)
    shutil.rmtree(written, ignore_errors=True)
    for path in sent_back:
        (data / path).unlink(missing_ok=True)
    return is_new


def _make_known(
    connection: Connection, written: Path, place: Path, job: dict[str, Any], facts: dict[str, Any]
) -> list[str]:
    """Put files and rows in their places; files that are no longer those of an instance."""
    if written.is_dir():
        _move(written, place)
    if not place.is_dir():
        raise JobFailed(
            "A result is published with the files that were written for it.",
            received="none of them",
            cure="It is segmented again.",
        )
    key, relative = job["key"], result_folder(job["key"])
    rows = _instances(place, relative, key)
    sop_uid = rows[0]["sop_uid"] if rows else None
    connection.execute(
        insert(results).values(
            key=key, job_id=job["id"], folder=relative, sop_uid=sop_uid, facts=facts,
            size_bytes=facts["size_bytes"], published_at=now(),
        )
    )  # fmt: skip
    of_rows = instances.c.sop_uid.in_([row["sop_uid"] for row in rows])
    # A result of ours that was forgotten and came back with its study from elsewhere.
    sent_back = connection.execute(select(instances.c.path).where(of_rows)).scalars().all()
    connection.execute(delete(instances).where(of_rows))
    for values in rows:
        connection.execute(insert(instances).values(values))
    return [path for path in sent_back if not path.startswith(relative)]


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
                "digest": content_digest(path),
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
