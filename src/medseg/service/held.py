"""What the service holds: each instance once, under a name that no sender chose."""

import hashlib
import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, delete, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from medseg.errors import BadUpload, JobFailed, NoRoom, NotHeld, TooLarge
from medseg.files import sha256
from medseg.service.database import Database, conflicts, instances, jobs, now, results, uploads
from medseg.service.headers import Header, content_digest, read_header
from medseg.service.settings import Limits, Retention

Outcome = Literal["stored", "again", "conflict", "late", "refused"]
"""What became of an instance: kept; held already with the same bytes; refused, since other bytes
are held under its UID; kept, but its series was segmented before; refused for another reason."""

OUT_OF_RESOURCES = 0xA700
MISMATCH = 0xA900
NOT_UNDERSTOOD = 0xC000
DUPLICATE = 0x0111
"""Failure reasons (PS3.4, table B.2-1; PS3.7, C.5.8)."""

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Stored:
    """What became of one instance.

    Attributes:
        outcome: See `Outcome`.
        sop_class_uid: Empty where the file could not be read.
        sop_uid: Empty where the file could not be read.
        study_uid: Empty where the file could not be read.
        series_uid: Empty where the file could not be read.
        failure: Failure reason of DICOM; None where the instance is held.
        message: Why it was refused; else empty.
    """

    outcome: Outcome
    sop_class_uid: str = ""
    sop_uid: str = ""
    study_uid: str = ""
    series_uid: str = ""
    failure: int | None = None
    message: str = ""

    @property
    def is_held(self) -> bool:
        """Whether the instance is held now."""
        return self.failure is None


class Held:
    """Instances and uploads in the data folder, and their rows.

    Args:
        database: The rows.
        data: The folder.
        limits: What is refused.
        retention: Of which the quota is looked at here.
    """

    def __init__(
        self,
        database: Database,
        data: Path,
        limits: Limits | None = None,
        retention: Retention | None = None,
    ) -> None:
        self.database, self.data = database, data
        self.limits, self.retention = limits or Limits(), retention or Retention()
        for name in ("incoming", "instances", "uploads", "results"):
            (data / name).mkdir(parents=True, exist_ok=True)

    @property
    def incoming(self) -> Path:
        """Where a file is written while it arrives; on the disk of its later place."""
        return self.data / "incoming"

    def put(
        self,
        file: Path,
        sender: str,
        *,
        study_uid: str | None = None,
        announced: tuple[str, str] | None = None,
    ) -> Stored:
        """Take a DICOM file that arrived; the file is moved or removed.

        Args:
            file: The file, in `incoming`.
            sender: Who sent it.
            study_uid: The study that it must be of; None for any.
            announced: The UIDs of class and instance that it must have; None for any.
        """
        try:
            return self._put(file, sender, study_uid, announced)
        except BadUpload as error:
            return Stored("refused", failure=NOT_UNDERSTOOD, message=str(error))
        except TooLarge as error:
            return Stored("refused", failure=OUT_OF_RESOURCES, message=str(error))
        finally:
            file.unlink(missing_ok=True)

    def _put(
        self, file: Path, sender: str, study_uid: str | None, announced: tuple[str, str] | None
    ) -> Stored:
        header = read_header(file, inflated_bytes=self.limits.inflated_bytes)
        identity = (header.sop_class_uid, header.sop_uid, header.study_uid, header.series_uid)
        if header.pixels > self.limits.pixels:
            return Stored("refused", *identity, OUT_OF_RESOURCES, "more pixels than limits.pixels")
        if study_uid is not None and header.study_uid != study_uid:
            return Stored("refused", *identity, MISMATCH, "an instance of another study")
        if announced not in (None, identity[:2]):
            return Stored("refused", *identity, MISMATCH, "another instance than was announced")
        digest, size_bytes = content_digest(file), file.stat().st_size
        self.require_room(size_bytes)
        place = self.data / instance_path(header.sop_uid)
        place.parent.mkdir(parents=True, exist_ok=True)
        _flush(file)
        with self.database.begin() as connection:
            there = connection.execute(
                select(instances.c.digest).where(instances.c.sop_uid == header.sop_uid)
            ).scalar_one_or_none()
            if there is not None:
                return self._again(connection, header, digest == there, digest, sender)
            if self._count(connection, header.study_uid) >= self.limits.files_per_study:
                return Stored(
                    "refused", *identity, OUT_OF_RESOURCES, "more than limits.files_per_study"
                )
            late = self._was_segmented(connection, header.series_uid)
            connection.execute(insert(instances).values(_row(header, digest, size_bytes, sender)))
            if late:
                _note_conflict(connection, header, "late", digest, sender)
            file.replace(place)
        return Stored("late" if late else "stored", *identity)

    def _again(
        self, connection: Connection, header: Header, same: bool, digest: str, sender: str
    ) -> Stored:
        identity = (header.sop_class_uid, header.sop_uid, header.study_uid, header.series_uid)
        if same:
            return Stored("again", *identity)
        _note_conflict(connection, header, "bytes", digest, sender)
        return Stored("conflict", *identity, DUPLICATE, "other bytes are held under this UID")

    def _count(self, connection: Connection, study_uid: str) -> int:
        return connection.execute(
            select(func.count()).where(instances.c.study_uid == study_uid)
        ).scalar_one()

    def _was_segmented(self, connection: Connection, series_uid: str) -> bool:
        has_result = exists().where(results.c.key == jobs.c.key)
        found = select(jobs.c.id).where(
            jobs.c.series_uid == series_uid,
            (jobs.c.state == "running") | ((jobs.c.state == "done") & has_result),
        )
        return connection.execute(found.limit(1)).first() is not None

    def require_room(self, more_bytes: int) -> None:
        """Pass if so many bytes more stay within the quota and on the disk.

        Raises:
            NoRoom: If they do not.
        """
        quota = self.retention.quota_bytes
        free = shutil.disk_usage(self.data).free
        if free < more_bytes or (quota is not None and self.size_bytes() + more_bytes > quota):
            raise NoRoom(
                "What is held stays within the quota and on the disk.",
                received=f"{more_bytes} bytes more",
                cure="Delete studies, set a retention, or raise retention.quota_bytes.",
            )

    def size_bytes(self) -> int:
        """Of all instances, uploads and results."""
        with self.database.reading() as connection:
            sums = [
                connection.execute(select(func.sum(table.c.size_bytes))).scalar_one() or 0
                for table in (instances, uploads, results)
            ]
        return int(sum(sums))

    def put_upload(self, file: Path, name: str, sender: str) -> str:
        """Take an image that is no DICOM; the file is moved or removed. Its digest.

        Args:
            file: The file, in `incoming`.
            name: What the sender calls it; only shown, and only its last part.
            sender: Who sent it.

        Raises:
            NoRoom: If there is no room for it.
        """
        try:
            digest, size_bytes = sha256(file), file.stat().st_size
            self.require_room(size_bytes)
            relative = upload_path(digest, file)
            (self.data / relative).parent.mkdir(parents=True, exist_ok=True)
            _flush(file)
            values = {
                "digest": digest,
                "path": relative,
                "name": Path(name.replace("\\", "/")).name[:255],
                "size_bytes": size_bytes,
                "sender": sender,
                "received_at": now(),
            }
            try:
                with self.database.begin() as connection:
                    connection.execute(insert(uploads).values(values))
                    file.replace(self.data / relative)
            except IntegrityError:
                pass  # it is held already
            return digest
        finally:
            file.unlink(missing_ok=True)

    def instances_of(
        self,
        *,
        study_uid: str | None = None,
        series_uid: str | None = None,
        sop_uid: str | None = None,
    ) -> Sequence[dict[str, Any]]:
        """Rows of the instances that fit, in the order in which they arrived."""
        wanted = select(instances).order_by(instances.c.received_at, instances.c.sop_uid)
        for column, value in (("study_uid", study_uid), ("series_uid", series_uid),
                              ("sop_uid", sop_uid)):  # fmt: skip
            if value is not None:
                wanted = wanted.where(instances.c[column] == value)
        with self.database.reading() as connection:
            return [dict(row._mapping) for row in connection.execute(wanted)]

    def study_of(self, series_uid: str | None) -> str | None:
        """The study of a series; None where nothing of it is held."""
        if series_uid is None:
            return None
        wanted = select(instances.c.study_uid).where(instances.c.series_uid == series_uid).limit(1)
        with self.database.reading() as connection:
            return connection.execute(wanted).scalar_one_or_none()

    def series_digest(self, series_uid: str) -> str:
        """SHA-256 over the UIDs and digests of a series' instances, whatever their order.

        Raises:
            NotHeld: If nothing of the series is held.
        """
        rows = self.instances_of(series_uid=series_uid)
        if not rows:
            raise NotHeld(
                "A job is about a series that is held.",
                received="a series of which nothing is held",
                cure="Send it first.",
            )
        lines = sorted(f"{row['sop_uid']} {row['digest']}\n" for row in rows)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def upload_of(self, digest: str) -> Path:
        """Where an upload lies.

        Raises:
            NotHeld: If it is not held.
        """
        with self.database.reading() as connection:
            found = connection.execute(select(uploads.c.path).where(uploads.c.digest == digest))
            relative = found.scalar_one_or_none()
        if relative is None:
            raise NotHeld(
                "A job is about an image that is held.",
                received="the digest of no upload",
                cure="Send it again.",
            )
        return self.data / str(relative)

    def path_of(self, row: dict[str, Any]) -> Path:
        """Where the file of a row of `instances` or `uploads` lies."""
        return self.data / str(row["path"])

    def delete_study(self, study_uid: str) -> int:
        """Remove all instances of a study, with its results; how many instances there were.

        Jobs stay as records; those that wait or run are cancelled. Files are removed after the
        rows: what is left behind by a crash is nobody's.
        """
        with self.database.begin() as connection:
            chosen = instances.c.study_uid == study_uid
            rows = connection.execute(
                select(instances.c.path, instances.c.series_uid, instances.c.result_key).where(
                    chosen
                )
            ).all()
            series = {row.series_uid for row in rows}
            _cancel_jobs(connection, series)
            keys = set(
                connection.execute(
                    select(results.c.key)
                    .join(jobs, jobs.c.id == results.c.job_id)
                    .where(jobs.c.series_uid.in_(series))
                ).scalars()
            ) | {row.result_key for row in rows if row.result_key}
            folders = (
                connection.execute(select(results.c.folder).where(results.c.key.in_(keys)))
                .scalars()
                .all()
            )
            connection.execute(delete(results).where(results.c.key.in_(keys)))
            connection.execute(delete(instances).where(chosen | instances.c.result_key.in_(keys)))
        for row in rows:
            (self.data / row.path).unlink(missing_ok=True)
        for folder in folders:
            shutil.rmtree(self.data / folder, ignore_errors=True)
        return len(rows)


def _row(header: Header, digest: str, size_bytes: int, sender: str) -> dict[str, Any]:
    return {
        "sop_uid": header.sop_uid,
        "series_uid": header.series_uid,
        "study_uid": header.study_uid,
        "sop_class_uid": header.sop_class_uid,
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "digest": digest,
        "path": instance_path(header.sop_uid),
        "size_bytes": size_bytes,
        "frames": header.frames,
        "header": header.attributes,
        "sender": sender,
        "received_at": now(),
        "result_key": None,
    }


def _cancel_jobs(connection: Connection, series_uids: Collection[str]) -> None:
    """End the jobs of series that are removed; who carries them out looks at their state."""
    connection.execute(
        update(jobs)
        .where(jobs.c.series_uid.in_(series_uids), jobs.c.state.in_(("queued", "running")))
        .values(
            state="cancelled",
            error_code=JobFailed.code,
            error_message="Its study was deleted.",
            finished_at=now(),
        )
    )


def _note_conflict(
    connection: Connection, header: Header, kind: str, digest: str, sender: str
) -> None:
    """Record a conflict once."""
    same = (
        (conflicts.c.sop_uid == header.sop_uid)
        & (conflicts.c.kind == kind)
        & (conflicts.c.digest == digest)
    )
    if connection.execute(select(conflicts.c.id).where(same)).first() is None:
        connection.execute(
            insert(conflicts).values(
                sop_uid=header.sop_uid,
                series_uid=header.series_uid,
                kind=kind,
                digest=digest,
                sender=sender,
                at=now(),
            )
        )


def instance_path(sop_uid: str) -> str:
    """Where an instance lies in the data folder: a hash, whatever the UID."""
    name = hashlib.sha256(sop_uid.encode()).hexdigest()
    return f"instances/{name[:2]}/{name}.dcm"


def upload_path(digest: str, file: Path) -> str:
    """Where an upload lies in the data folder: its digest, and whether it is compressed."""
    with file.open("rb") as opened:
        packed = opened.read(2) == b"\x1f\x8b"
    return f"uploads/{digest[:2]}/{digest}.nii{'.gz' if packed else ''}"


def _flush(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
