"""Public data sets from their home, checked before they are unpacked."""

import contextlib
import hashlib
import http.client
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from medseg.dataset.naming import LEFT_OUT
from medseg.errors import CannotWrite, DatasetError, NetworkUnavailable
from medseg.files import atomic_folder
from medseg.progress import SILENT, Progress

_CHUNK_BYTES = 1 << 18
_TIMEOUT_S = 30.0
_BYTES_PER_MB = 1_000_000


@dataclass(frozen=True)
class PublicDataset:
    """Where a data set lies, and how to know that it came whole.

    Attributes:
        url: A tar archive.
        md5: Its checksum, as the publisher states it.
        folder: The folder in the archive, and its name here.
        licence: Under which terms it may be used.
    """

    url: str
    md5: str
    folder: str
    licence: str


PUBLIC = {
    "hippocampus": PublicDataset(
        url="https://msd-for-monai.s3-us-west-2.amazonaws.com/Task04_Hippocampus.tar",
        md5="9d24dba78a72977dbd1d2e110310f31b",
        folder="Task04_Hippocampus",
        licence="CC-BY-SA 4.0",
    ),
}
"""Data sets by name.

Source: Antonelli et al., Nature Communications 13, 4128 (2022); address and checksum as in MONAI's
`DecathlonDataset`.
"""


def fetch(name: str, folder: Path, *, url: str | None = None, progress: Progress = SILENT) -> Path:
    """Download a public data set, check it, and unpack it to a folder of its own.

    A data set that is already there is kept as it is. Whatever goes wrong, nothing half is left.

    Args:
        name: One of `PUBLIC`.
        folder: Where its folder shall be.
        url: Another place of the same archive, such as a mirror in the own network.
        progress: Told about each piece, in MB.

    Returns:
        The folder of the data set.

    Raises:
        DatasetError: If the name is not known, or the archive is none.
        NetworkUnavailable: If it could not be downloaded, or did not match its checksum.
        CannotWrite: If the folder cannot be written, or the disk is full.
    """
    if name not in PUBLIC:
        raise DatasetError(f"Known public data sets are: {', '.join(PUBLIC)}.", received=repr(name))
    public = PUBLIC[name]
    target = folder / public.folder
    if (target / "dataset.json").is_file():
        return target
    if target.exists():
        raise CannotWrite(
            f"The data set is unpacked to {target}, which must not be there yet.",
            received="something else at this place",
            cure="Move it away, or choose another folder with --out.",
        )
    with atomic_folder(target) as room:
        archive = room / ".archive.tar"
        _download(url or public.url, archive, public.md5, progress)
        _unpack(archive, room)
        archive.unlink()
        if not (room / "dataset.json").is_file():
            raise DatasetError(
                "A public data set holds a dataset.json.", received=f"none in {public.folder}"
            )
    return target


def _download(url: str, path: Path, md5: str, progress: Progress) -> None:
    """Stream an archive to a file.

    Raises:
        NetworkUnavailable: If the connection fails, or the checksum differs.
    """
    hasher = hashlib.md5(usedforsecurity=False)
    with _network_errors(url):
        response = urllib.request.urlopen(url, timeout=_TIMEOUT_S)
    size = int(response.headers.get("Content-Length") or 0)
    with (
        response,
        path.open("wb") as stream,
        progress.task(
            f"downloading {PurePosixPath(url).name} (MB)", size / _BYTES_PER_MB or None
        ) as task,
    ):
        for chunk in _chunks(response, url):
            hasher.update(chunk)
            stream.write(chunk)
            task.advance(len(chunk) / _BYTES_PER_MB)
    if hasher.hexdigest() != md5:
        received = path.stat().st_size
        raise NetworkUnavailable(
            f"What comes from {url} must have the MD5 checksum {md5}.",
            received=f"{hasher.hexdigest()} of {received} bytes"
            + (f", where {size} were announced" if size and size != received else ""),
            cure="Try again; if it stays so, the file at this place is not the published one.",
        )


def _chunks(response: IO[bytes], url: str) -> Iterator[bytes]:
    while True:
        with _network_errors(url):
            chunk = response.read(_CHUNK_BYTES)
        if not chunk:
            return
        yield chunk


@contextlib.contextmanager
def _network_errors(url: str) -> Iterator[None]:
    """Say plainly that a download was not possible, and why."""
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        status = f"status {error.code}, " if isinstance(error, urllib.error.HTTPError) else ""
        raise NetworkUnavailable(
            f"A download needs the network, and {url} must answer.",
            received=f"{status}{reason or type(error).__name__}",
            cure="Connect to the network, or copy the data set by hand: any folder of a known "
            "layout works without a download.",
        ) from error


def _unpack(archive: Path, room: Path) -> None:
    """Unpack a tar file without its first folder, hidden files and anything that leads outside.

    Raises:
        DatasetError: If it is no tar file, or holds something that must not be unpacked.
    """
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                inside = PurePosixPath(member.name).parts[1:]
                if not inside or any(map(_is_left_out, inside)):
                    continue
                member.name = str(PurePosixPath(*inside))
                tar.extract(member, room, filter="data")
    except tarfile.TarError as error:
        raise DatasetError(
            "A public data set comes as a tar file that unpacks below its own folder.",
            received=str(error),
            cure="Try again, or unpack it by hand.",
        ) from error


def _is_left_out(part: str) -> bool:
    """Hidden; ".." is not: the filter refuses it."""
    return part.startswith(LEFT_OUT) and part != ".."
