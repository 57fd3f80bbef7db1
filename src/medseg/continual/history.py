"""The history of a data set: small files in git, through dulwich, so that no git need be installed.

One line of commits, each a version. Nothing in it is ever changed or lost: going back to an earlier
version changes the files at hand and not the history.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.errors import VersionError

if TYPE_CHECKING:
    from dulwich.objects import Commit
    from dulwich.repo import Repo

_BRANCH = b"main"
_NOBODY = b"medseg <medseg@localhost>"
_LOCK_SECONDS = 2.0


@dataclass(frozen=True)
class Version:
    """One state of a data set.

    Attributes:
        number: 1 is the first one.
        commit: Of git, 40 hexadecimal digits.
        created: Date and time in UTC, ISO 8601.
        author: Who made it.
        message: Why.
    """

    number: int
    commit: str
    created: str
    author: str
    message: str

    @property
    def name(self) -> str:
        """As people call it: v1, v2 and so on."""
        return f"v{self.number}"


class History:
    """The versions of one folder.

    Args:
        root: The folder.

    Raises:
        VersionError: If it has no history.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        if not (root / ".git").is_dir():
            raise VersionError(
                "Versions are kept in the folder of a data set.",
                received=f"{root} without any",
                cure=f"Begin: medseg version init --data {root}.",
            )

    @classmethod
    def create(cls, root: Path) -> "History":
        """Begin a history; one that is there goes on."""
        from dulwich.repo import Repo

        if not (root / ".git").is_dir():
            Repo.init(str(root), default_branch=_BRANCH).close()
        return cls(root)

    @cached_property
    def _repo(self) -> "Repo":
        from dulwich.errors import NotGitRepository
        from dulwich.repo import Repo

        try:
            return Repo(str(self.root))
        except NotGitRepository as error:
            raise VersionError(
                "A history is a sound git repository.",
                received=f"{self.root / '.git'} that is none",
                cure="Restore the folder, or pull it anew into an empty one.",
            ) from error

    def versions(self) -> tuple[Version, ...]:
        """All versions, the first one first."""
        return self._told(self._tip)

    @property
    def _tip(self) -> bytes | None:
        from dulwich.refs import HEADREF

        try:
            return bytes(self._repo.refs[HEADREF])
        except KeyError:
            return None

    def _line(self, commit: bytes | None) -> list["Commit"]:
        """A commit and what came before it, the first one first."""
        from dulwich.objects import Commit, ObjectID

        found: list[Commit] = []
        while commit is not None:
            one = self._repo.object_store[ObjectID(commit)]
            if not isinstance(one, Commit):
                break
            found.append(one)
            commit = bytes(one.parents[0]) if one.parents else None
        return found[::-1]

    def _told(self, tip: bytes | None) -> tuple[Version, ...]:
        return tuple(
            Version(
                number=number,
                commit=one.id.decode(),
                created=datetime.fromtimestamp(one.commit_time, UTC).isoformat(timespec="seconds"),
                author=one.author.decode("utf-8", "replace"),
                message=one.message.decode("utf-8", "replace").strip(),
            )
            for number, one in enumerate(self._line(tip), start=1)
        )

    def files(self, version: Version) -> dict[str, bytes]:
        """All files of a version: path -> content."""
        from dulwich.object_store import iter_tree_contents
        from dulwich.objects import Blob, Commit, ObjectID

        store = self._repo.object_store
        commit = store[ObjectID(version.commit.encode())]
        assert isinstance(commit, Commit)
        found: dict[str, bytes] = {}
        for entry in iter_tree_contents(store, commit.tree):
            if entry.path is not None and entry.sha is not None:
                blob = store[entry.sha]
                if isinstance(blob, Blob):
                    found[os.fsdecode(entry.path)] = blob.data
        return found

    def read(self, version: Version, name: str) -> bytes:
        """One file of a version.

        Raises:
            VersionError: If it has none of this name.
        """
        content = self.files(version).get(name)
        if content is None:
            raise VersionError(
                f"A version of a data set has a file {name}.",
                received=f"none in {version.name} ({version.commit[:10]}), which medseg did not "
                "write",
                cure="Choose another version: medseg version list.",
            )
        return content

    def commit(self, names: Iterable[str], message: str) -> Version:
        """Make a version of the files at hand.

        Args:
            names: Paths below the root; those that are not there are taken out.
            message: Why.
        """
        self.stage(names)
        author = self._author()
        self._repo.get_worktree().commit(
            message=message.encode("utf-8", "replace"), author=author, committer=author,
            no_verify=True, sign=False,
        )  # fmt: skip
        return self.versions()[-1]

    def _author(self) -> bytes:
        """Who works here, as git knows them; a name of ours where it knows nobody."""
        config = self._repo.get_config_stack()
        try:
            name, mail = config.get((b"user",), b"name"), config.get((b"user",), b"email")
        except KeyError:
            return _NOBODY
        return name + b" <" + mail + b">"

    def write_out(self, path: Path) -> None:
        """Write the whole history into one file, a git bundle."""
        from dulwich.bundle import create_bundle_from_repo, write_bundle
        from dulwich.refs import Ref

        bundle = create_bundle_from_repo(self._repo, refs=[Ref(b"refs/heads/" + _BRANCH)])
        with bundle, path.open("wb") as stream:
            write_bundle(stream, bundle)

    def outside(self, path: Path) -> tuple[Version, ...]:
        """The versions of a history that was written out.

        Its objects are kept here, and nothing points at them before `take_over`.

        Raises:
            VersionError: If the file is no history.
        """
        from dulwich.bundle import read_bundle

        try:
            with path.open("rb") as stream, read_bundle(stream) as bundle:
                bundle.store_objects(self._repo.object_store)
                tip = bytes(next(iter(bundle.references.values())))
            return self._told(tip)
        except Exception as error:
            raise VersionError(
                "The remote holds a history that medseg wrote.",
                received=f"{type(error).__name__}: {error}",
                cure="Push the versions again from where they are whole.",
            ) from error

    def take_over(self, versions: tuple[Version, ...]) -> None:
        """Let the history end with the last of these versions, which go on from its own."""
        from dulwich.objects import ObjectID
        from dulwich.refs import HEADREF

        self.clear_locks()
        self._repo.refs[HEADREF] = ObjectID(versions[-1].commit.encode())

    def stage(self, names: Iterable[str]) -> None:
        """Let git's index have these files as they are at hand."""
        self.clear_locks()
        self._repo.get_worktree().stage(sorted(names))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other medseg processes out of this folder while the block runs.

        Raises:
            VersionError: If one is at work.
        """
        with (self.root / ".git" / "medseg.lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise VersionError(
                    "One process at a time works on the versions of a data set.",
                    received=f"another one at work in {self.root}",
                    cure="Wait until it is done.",
                ) from error
            self.clear_locks()
            yield

    def clear_locks(self) -> None:
        """Take away locks that a killed process left; a git that is at work is waited for."""
        home = self.root / ".git"
        for lock in (home / "index.lock", home / "HEAD.lock", *home.glob("refs/heads/*.lock")):
            end = time.monotonic() + _LOCK_SECONDS
            while lock.exists() and time.monotonic() < end:
                if time.time() - lock.stat().st_mtime > _LOCK_SECONDS:
                    break
                time.sleep(0.05)
            lock.unlink(missing_ok=True)
