"""The large files of a data set under DVC: kept by content, sent to remotes and brought back.

DVC is driven as a library. What git would keep of it (a `.dvc` file for each folder of images) is
left to `history`, so DVC needs no git program either.
"""

import contextlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.errors import MedsegError, MissingDependency, VersionError
from medseg.files import atomic_file

if TYPE_CHECKING:
    from dvc.repo import Repo

HISTORY_FILE = "medseg-history.bundle"
"""Name of the history among the data of a remote."""

_SCHEMES = ("ssh", "s3", "gs", "azure", "http", "https", "webdav", "webdavs", "hdfs", "oss")


class DataStore:
    """DVC in the folder of a data set.

    Args:
        root: The folder.

    Raises:
        VersionError: If DVC was not begun there.
        MissingDependency: If DVC is not installed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        if not (root / ".dvc").is_dir():
            raise VersionError(
                "Versions are kept in the folder of a data set.",
                received=f"{root} without any",
                cure=f"Begin: medseg version init --data {root}.",
            )

    @classmethod
    def create(cls, root: Path) -> "DataStore":
        """Begin; what is there goes on."""
        if not (root / ".dvc" / "config").is_file():
            repo_class = _dvc()
            with _sentences("DVC begins in the folder of a data set."):
                repo_class.init(str(root), force=True).close()
        return cls(root)

    @property
    def tracked(self) -> tuple[str, ...]:
        """Files and folders that are kept by content, as names below the root."""
        return tuple(sorted(path.name.removesuffix(".dvc") for path in self._pointers()))

    @property
    def small_files(self) -> tuple[str, ...]:
        """Files by which DVC finds the large ones, for the history to keep."""
        own = (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore")
        there = [name for name in own if (self.root / name).is_file()]
        return (*there, *(path.name for path in self._pointers()))

    def _pointers(self) -> list[Path]:
        return sorted(path for path in self.root.glob("*.dvc") if path.is_file())

    def add(self, names: Sequence[str], touched: Sequence[Path] = ()) -> None:
        """Keep files and folders by content, and forget those that are not named any more.

        Args:
            names: Names below the root.
            touched: Files whose content is known to have changed, whatever their times say.

        Raises:
            VersionError: If DVC cannot do it.
        """
        _touch(touched)
        with self._open() as repo, _sentences("Files of a version are kept by content."):
            for name in set(self.tracked) - set(names):
                repo.remove(str(self.root / f"{name}.dvc"))
            repo.add([str(self.root / name) for name in names])

    def check_out(self, touched: Sequence[Path] = ()) -> None:
        """Make the files at hand those that the `.dvc` files name; missing ones are fetched.

        Args:
            touched: Files whose content is known to have changed, whatever their times say.

        Raises:
            VersionError: If content is neither here nor in the remote.
        """
        _dvc()
        from dvc.exceptions import DvcException

        _touch(touched)
        with self._open() as repo, _sentences("All files of a version can be brought back."):
            try:
                repo.checkout(force=True)
            except DvcException:
                name = repo.config["core"].get("remote")
                if not name:
                    raise
                with self._remote(repo, name):
                    wanted = [_md5_of(path.read_bytes()) for path in self._pointers()]
                    _transfer(repo, repo.cloud.get_remote_odb(name), repo.cache.local, wanted)
                repo.checkout(force=True)

    def untracked(self) -> list[str]:
        """Files in tracked folders that were not kept yet, as names below the root."""
        found: list[str] = []
        with self._open() as repo:
            for out in repo.index.outs:
                folder = Path(out.fs_path)
                tree = out.get_obj() if folder.is_dir() else None
                if tree is None:
                    continue
                kept = {folder.joinpath(*key) for key, _, _ in tree}
                found += [
                    path.relative_to(self.root).as_posix()
                    for path in sorted(folder.rglob("*"))
                    if path.is_file() and path not in kept
                ]
        return found

    def remotes(self) -> dict[str, str]:
        """Name -> address of each remote, the one that is used first."""
        with self._open() as repo:
            first = repo.config["core"].get("remote", "")
            found = {name: str(one["url"]) for name, one in repo.config["remote"].items()}
        return dict(sorted(found.items(), key=lambda one: (one[0] != first, one[0])))

    def add_remote(self, name: str, url: str) -> None:
        """Name a place for all files: a local folder, `ssh://HOST/PATH`, `s3://BUCKET/PATH`.

        It becomes the one that is used where none is named. A local folder is made if that in
        which it lies is there.

        Raises:
            VersionError: If the name or the address is none.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
            raise VersionError(
                "The name of a remote is of letters, digits, - and _.", received=repr(name)
            )
        scheme = url.partition("://")[0] if "://" in url else ""
        if scheme and scheme not in _SCHEMES:
            raise VersionError(
                "A remote is a local folder, ssh://HOST/PATH or s3://BUCKET/PATH.",
                received=url,
                cure="Give one of these.",
            )
        if not scheme:
            folder = Path(url).absolute()
            if not folder.is_dir():
                try:
                    folder.mkdir()
                except OSError as error:
                    raise _away(name, str(folder), error.strerror or str(error)) from error
            url = str(folder)
        with self._open() as repo, repo.config.edit("repo") as config:
            config["remote"][name] = {"url": url}
            config["core"]["remote"] = name

    def push(
        self,
        name: str,
        pointers: Iterable[bytes],
        history: Path,
        allowed: Callable[[Path], None],
    ) -> None:
        """Send content, and then the history that speaks of it.

        Args:
            name: Of the remote.
            pointers: The `.dvc` files of all versions.
            history: The history, written out.
            allowed: Is given the remote's own history, if it has one, and raises if it must not be
                replaced.

        Raises:
            VersionError: If the remote is away, or what `allowed` raises.
        """
        with self._open() as repo, self._remote(repo, name) as (filesystem, place):
            target = filesystem.join(place, HISTORY_FILE)
            with self._fetched(filesystem, target) as before:
                if before is not None:
                    allowed(before)
            remote, wanted = repo.cloud.get_remote_odb(name), {_md5_of(one) for one in pointers}
            here = {one for one in wanted if repo.cache.local.exists(one)}
            _require_whole([one for one in wanted - here if not remote.exists(one)])
            _transfer(repo, repo.cache.local, remote, here)
            filesystem.makedirs(place, exist_ok=True)
            partial = f"{target}.partial"
            filesystem.put_file(str(history), partial)
            filesystem.mv(partial, target)

    def pull_history(self, name: str, take: Callable[[Path], None]) -> None:
        """Hand the remote's history to `take`, as a file that is gone afterwards.

        Raises:
            VersionError: If the remote is away or empty.
        """
        with self._open() as repo, self._remote(repo, name) as (filesystem, place):
            target = filesystem.join(place, HISTORY_FILE)
            with self._fetched(filesystem, target) as history:
                if history is None:
                    raise VersionError(
                        f"The remote {name} holds versions.",
                        received=f"none in {place}",
                        cure="Push some first: medseg version push.",
                    )
                take(history)

    @contextlib.contextmanager
    def _fetched(self, filesystem: Any, target: str) -> Iterator[Path | None]:
        """A copy of a remote's file while the block runs; None if it has none."""
        if not filesystem.exists(target):
            yield None
            return
        local = self.root / ".dvc" / "tmp" / HISTORY_FILE
        with atomic_file(local) as temporary:
            temporary.unlink()
            filesystem.get_file(target, str(temporary))
        try:
            yield local
        finally:
            local.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _remote(self, repo: "Repo", name: str) -> Iterator[tuple[Any, str]]:
        """The file system of a remote and its folder there."""
        known = repo.config["remote"]
        if name not in known:
            raise VersionError(
                "A remote was named before it is used.",
                received=repr(name) if name else "none",
                cure=f"Known: {', '.join(known) or 'none'}. "
                "Name one: medseg version remote NAME ADDRESS.",
            )
        url = str(known[name]["url"])
        if "://" not in url and not Path(url).is_dir():
            raise _away(name, url, "nothing at that place")
        try:
            remote = repo.cloud.get_remote(name)
            yield remote.fs, remote.path
        except MedsegError:
            raise
        except ImportError as error:
            raise _lacking(url) from error
        except Exception as error:
            if type(error).__name__ == "RemoteMissingDepsError":
                raise _lacking(url) from error
            raise _away(name, url, _first_line(error)) from error

    @contextlib.contextmanager
    def _open(self) -> "Iterator[Repo]":
        repo_class = _dvc()
        tmp = self.root / ".dvc" / "tmp"
        _mend_locks(tmp)
        config = {
            "core": {
                "analytics": False, "check_update": False, "site_cache_dir": str(tmp / "site"),
            }
        }  # fmt: skip
        with _sentences("A data set with versions is a DVC repository."):
            repo = repo_class(str(self.root), config=config)
        try:
            yield repo
        finally:
            repo.close()


def _dvc() -> "type[Repo]":
    try:
        from dvc.repo import Repo
    except ImportError as error:
        raise MissingDependency(
            "Versions of data sets are kept by DVC.",
            received="no package dvc",
            cure='Install it: pip install "medseg[continual]".',
        ) from error
    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    repo: type[Repo] = Repo
    return repo


def _md5_of(pointer: bytes) -> str:
    """The name of content in DVC, from a `.dvc` file."""
    found = re.search(rb"^- md5: ([0-9a-f]{32}(?:\.dir)?)$", pointer, flags=re.MULTILINE)
    return found[1].decode() if found else ""


def _transfer(repo: "Repo", source: Any, target: Any, names: Iterable[str]) -> None:
    """Copy content, and that of folders with all their files, where it is not yet.

    Raises:
        VersionError: If some of it is on neither side.
        OSError: If files could not be copied.
    """
    # What a folder holds is listed in a file of its own, which must be here before its files come.
    from dvc_data.hashfile.hash_info import HashInfo

    missing: list[str] = []
    hashes = [HashInfo("md5", name) for name in sorted({*names} - {""})]
    local = repo.cache.local
    for only_lists in (True, False) if target is local else (False,):
        done = repo.cloud.transfer(
            source, target, hashes, shallow=only_lists, cache_odb=local,
            validate_status=lambda status: missing.extend(str(one) for one in status.missing),
        )  # fmt: skip
        _require_whole(missing)
        if done.failed:
            raise OSError(f"{len(done.failed)} files could not be copied")


def _require_whole(missing: Sequence[str]) -> None:
    """Pass if no content is lost."""
    if missing:
        raise VersionError(
            "Content of a version is here or in the remote.",
            received=f"{len(missing)} files or folders in neither",
            cure="Bring them from where the version was made: medseg version push there.",
        )


def _touch(paths: Sequence[Path]) -> None:
    """Give files a new time: DVC goes by times, and a program can set them back."""
    for path in paths:
        with contextlib.suppress(OSError):
            os.utime(path)


@contextlib.contextmanager
def _sentences(rule: str) -> Iterator[None]:
    """Turn what DVC raises into one sentence."""
    from dvc.exceptions import DvcException

    try:
        yield
    except DvcException as error:
        raise VersionError(
            rule,
            received=_first_line(error),
            cure="See that the files are there and can be read and written, and try again.",
        ) from error


def _mend_locks(tmp: Path) -> None:
    """Take away DVC's list of locks if a killed process left half of it."""
    listed = tmp / "rwlock"
    if listed.is_file():
        try:
            json.loads(listed.read_text("utf-8"))
        except ValueError:
            listed.unlink()


def _first_line(error: BaseException) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return (text or type(error).__name__).rstrip(".:")


def _away(name: str, url: str, why: str) -> VersionError:
    return VersionError(
        f"The remote {name} can be reached at {url}.",
        received=why,
        cure="Mount or start it, or name its new place: medseg version remote NAME ADDRESS.",
    )


def _lacking(url: str) -> MissingDependency:
    kind = url.partition("://")[0]
    return MissingDependency(
        f"A remote at {url} needs DVC's part for {kind}.",
        received="a DVC without it",
        cure=f'Install it: pip install "dvc[{kind}]".',
    )
