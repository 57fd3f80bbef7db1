"""Versions sent to a remote and fetched from one: one line of them, here and there."""

from collections.abc import Sequence
from pathlib import Path

from medseg.continual.history import Version
from medseg.continual.versioned import VersionedData
from medseg.continual.versions import HISTORY_FILE
from medseg.errors import VersionError
from medseg.files import atomic_file
from medseg.progress import SILENT, Progress


def push(data: VersionedData, remote: str = "", *, progress: Progress = SILENT) -> str:
    """Send all versions to a remote.

    Args:
        data: The versions.
        remote: Its name; the first one where not given.
        progress: Told while files are sent.

    Returns:
        The name of the remote.

    Raises:
        VersionError: If there is nothing to send, the remote is away, or it has versions that are
            not here.
    """
    data.find("latest")
    name = remote or _first_remote(data)

    def require_ahead(path: Path) -> None:
        theirs, ours = data.history.outside(path), data.versions()
        if ours[: len(theirs)] != theirs:
            raise _parted(ours, theirs)

    pointers = [
        content
        for version in data.versions()
        for name_, content in data.history.files(version).items()
        if name_.endswith(".dvc")
    ]
    with data.history.alone(), progress.task(f"sending to {name}", None):
        local = data.root / ".dvc" / "tmp" / f"out-{HISTORY_FILE}"
        with atomic_file(local) as temporary:
            data.history.write_out(temporary)
        try:
            data.store.push(name, pointers, local, require_ahead)
        finally:
            local.unlink(missing_ok=True)
    return name


def pull(
    data: VersionedData, remote: str = "", *, progress: Progress = SILENT
) -> tuple[Version, ...]:
    """Fetch the versions of a remote, and make the files at hand those of the latest one.

    Args:
        data: The versions; none yet, in a folder to pull into.
        remote: Its name; the first one where not given.
        progress: Told while files are fetched.

    Returns:
        Versions that were not here before.

    Raises:
        VersionError: If the remote is away, versions differ, or changes would be lost.
    """
    name = remote or _first_remote(data)
    with data.history.alone():
        data.require_kept(progress=progress)
        before = data.versions()
        found: list[Version] = []

        def take(path: Path) -> None:
            theirs = data.history.outside(path)
            if theirs[: len(before)] == before:
                found.extend(theirs)
            elif before[: len(theirs)] != theirs:
                raise _parted(before, theirs)

        with progress.task(f"asking {name}", None):
            data.store.pull_history(name, take)
        if len(found) > len(before):
            data.history.take_over(tuple(found))
        latest = data.versions()[-1]
        data.restore(latest, progress=progress)
        data.history.stage(data.history.files(latest))
    return tuple(found[len(before) :])


def _first_remote(data: VersionedData) -> str:
    return next(iter(data.store.remotes()), "")


def _parted(ours: Sequence[Version], theirs: Sequence[Version]) -> VersionError:
    same = sum(a == b for a, b in zip(ours, theirs, strict=False))
    return VersionError(
        "Versions here and in the remote are one line.",
        received=f"{len(ours)} here and {len(theirs)} there, of which {same} are the same",
        cure="Pull before you make versions; to keep both, pull into an empty folder and import "
        "the labels there: medseg dataset import LABELS --update.",
    )
