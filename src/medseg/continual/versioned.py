"""A data set with versions: made, listed, compared, brought back, sent away and fetched.

Small files (the description, the manifest) are in git, images and labels in DVC; both lie in the
folder of the data set, so that whoever knows these tools can use them as well.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from medseg.continual.history import History, Version
from medseg.continual.version_diff import VersionDiff, diff
from medseg.continual.versions import DataStore
from medseg.dataset.contents import Contents
from medseg.dataset.description import FILE_NAME as DESCRIPTION_FILE
from medseg.dataset.description import DatasetDescription, load_description, save_description
from medseg.dataset.importers import open_dataset
from medseg.dataset.manifest import FILE_NAME as MANIFEST_FILE
from medseg.dataset.manifest import (
    MEMORY,
    Manifest,
    parse_manifest,
    save_manifest,
    take_manifest,
)
from medseg.errors import DatasetError, VersionError
from medseg.files import atomic_file
from medseg.progress import SILENT, Progress

HERE = "now"
"""Word for the files at hand, where a version is asked for."""

_REMOTES_FILE = ".dvc/config"
"""Which remotes there are is a matter of the place, and not of a version."""

_TEXTS, _LARGEST_TEXT = (".json", ".csv", ".tsv", ".txt", ".md"), 1_000_000


class VersionedData:
    """The versions of a data set in its folder.

    Args:
        root: The folder.

    Raises:
        VersionError: If no versions were begun there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.history, self.store = History(self.root), DataStore(self.root)

    @classmethod
    def create(cls, root: Path, *, progress: Progress = SILENT) -> "VersionedData":
        """Begin versions in a folder: that of a data set, or an empty one to pull into.

        A data set of another layout is described first. What was begun goes on.

        Raises:
            MissingPath: If there is no such folder.
            DatasetError: If the folder holds no data set.
            VersionError: If images or labels lie outside of it.
            CannotWrite: If it cannot be written.
        """
        root = root.absolute()
        if not root.exists():
            with atomic_file(root / ".medseg"):
                pass  # makes the folder, or says why not
            (root / ".medseg").unlink()
        if any(root.iterdir()) and not (root / ".git").is_dir():
            described = open_dataset(root, progress=progress)
            _names_of(described, root)
            if not (root / DESCRIPTION_FILE).is_file():
                save_description(described, root)
        History.create(root)
        DataStore.create(root)
        return cls(root)

    def description(self) -> DatasetDescription:
        """The data set at hand.

        Raises:
            MissingPath: If the folder holds none yet.
        """
        return load_description(self.root)

    def versions(self) -> tuple[Version, ...]:
        """All versions, the first one first."""
        return self.history.versions()

    def find(self, name: str) -> Version:
        """A version by its name (v3), the start of its commit or of its digest, or "latest".

        Raises:
            VersionError: If there is none, or several begin so.
        """
        every = self.versions()
        if not every:
            raise VersionError(
                "A version was made before it is asked for.",
                received=f"none in {self.root}",
                cure='Make one: medseg version commit -m "why".',
            )
        if name == "latest":
            return every[-1]
        found = [one for one in every if one.name == name]
        if not found and len(name) >= 4:
            found = [one for one in every if one.commit.startswith(name)]
            found = found or [one for one in every if self.manifest(one).digest.startswith(name)]
        if not found:
            raise VersionError(
                f"Versions are v1 to {every[-1].name}, their commits, their digests, or latest.",
                received=repr(name),
                cure="Look them up: medseg version list.",
            )
        return found[-1]

    def manifest(self, version: Version) -> Manifest:
        """What a version holds.

        Raises:
            VersionError: If its commit has no manifest.
        """
        return parse_manifest(self.history.read(version, MANIFEST_FILE), what=version.name)

    def now(self, *, verify: bool = False, progress: Progress = SILENT) -> Manifest:
        """What the files at hand hold.

        Args:
            verify: Whether every byte is read, whatever times of files say.
            progress: Told after each case.

        Raises:
            MissingPath: If there is no description.
        """
        file = self.root / MANIFEST_FILE
        previous = parse_manifest(file.read_bytes(), what=str(file)) if file.is_file() else None
        contents = Contents(self.root / MEMORY)
        return take_manifest(
            self.description(), contents, previous=previous, verify=verify, progress=progress
        )

    def add(self, *, verify: bool = False, progress: Progress = SILENT) -> VersionDiff:
        """Keep the files at hand by content, ready for a version.

        Args:
            verify: Whether every byte is read, whatever times of files say.
            progress: Told after each case.

        Returns:
            What the next version changes.

        Raises:
            DatasetError: If a case cannot be read.
            VersionError: If files lie outside of the folder, or cannot be kept.
        """
        with self.history.alone():
            return self._add(verify=verify, progress=progress)[1]

    def _add(self, *, verify: bool, progress: Progress) -> tuple[Manifest, VersionDiff]:
        description = self.description()
        names = _names_of(description, self.root)
        manifest = self.now(verify=verify, progress=progress)
        _require_sound(manifest)
        latest = self._latest()
        before = self.manifest(latest) if latest else _nothing(manifest)
        changes = diff(before, manifest, names=(latest.name if latest else "nothing", HERE))
        with progress.task("keeping files", None):
            self.store.add(names, _files_of(description, changes))
        save_manifest(manifest, self.root)
        return manifest, changes

    def commit(
        self, message: str, *, verify: bool = False, progress: Progress = SILENT
    ) -> tuple[Version, VersionDiff]:
        """Make a version of the files at hand; the latest one, if it holds the same.

        Args:
            message: Why.
            verify: Whether every byte is read, whatever times of files say.
            progress: Told after each case.

        Returns:
            The version, and what it changed.

        Raises:
            DatasetError: If a case cannot be read.
            VersionError: If there is no message, or files cannot be kept.
        """
        if not message.strip():
            raise VersionError("A version says why it was made.", cure='Give -m "why".')
        with self.history.alone():
            _, changes = self._add(verify=verify, progress=progress)
            latest = self._latest()
            before = self.history.files(latest) if latest else {}
            names = set(before) | set(self.store.small_files) | set(self._texts())
            if latest and not self._changed(names, before):
                return latest, changes
            return self.history.commit(names, message.strip()), changes

    def _changed(self, names: Iterable[str], before: Mapping[str, bytes]) -> list[str]:
        """Small files that are not as they were; where remotes are is not counted."""
        return [
            name
            for name in names
            if name != _REMOTES_FILE and _content(self.root / name) != before.get(name)
        ]

    def diff(
        self, before: str, after: str, *, verify: bool = False, progress: Progress = SILENT
    ) -> VersionDiff:
        """Compare two versions, or one with the files at hand ("now").

        Raises:
            VersionError: If there is no such version.
        """

        def manifest(name: str) -> tuple[str, Manifest]:
            if name == HERE:
                return HERE, self.now(verify=verify, progress=progress)
            version = self.find(name)
            return version.name, self.manifest(version)

        (a, one), (b, other) = manifest(before), manifest(after)
        return diff(one, other, names=(a, b))

    def check_out(self, name: str, *, force: bool = False, progress: Progress = SILENT) -> Version:
        """Make the files at hand those of a version; the history stays as it is.

        Args:
            name: As `find` takes it.
            force: Whether changes that are in no version may be lost.
            progress: Told while files are written.

        Raises:
            VersionError: If there is no such version, or changes would be lost.
        """
        version = self.find(name)
        with self.history.alone():
            if not force:
                self.require_kept(progress=progress)
            self.restore(version, progress=progress)
        return version

    def _latest(self) -> Version | None:
        every = self.versions()
        return every[-1] if every else None

    def _texts(self) -> list[str]:
        """Small texts beside the data: descriptions, tables of patients, folds."""
        return [
            path.name
            for path in sorted(self.root.iterdir())
            if path.is_file() and path.suffix in _TEXTS and path.stat().st_size < _LARGEST_TEXT
        ]

    def restore(self, version: Version, *, progress: Progress = SILENT) -> None:
        """Write the small files of a version, take away those of others, bring the large ones.

        Nothing is asked about changes that may be lost; see `require_kept`.

        Raises:
            VersionError: If content cannot be brought back, or is not that of the version.
        """
        touched: list[Path] = []
        if (self.root / DESCRIPTION_FILE).is_file():
            changes = diff(self.manifest(version), self.now(), names=("", ""))
            touched = _files_of(self.description(), changes)
        files = self.history.files(version)
        files.pop(_REMOTES_FILE, None)
        for name in set(self.store.small_files) | set(self._texts()):
            if name not in files and name.endswith((".dvc", *_TEXTS)) and self._is_kept(name):
                (self.root / name).unlink()
                _remove(self.root / name.removesuffix(".dvc"))
        for name, content in files.items():
            place = self.root / name
            if not place.is_file() or place.read_bytes() != content:
                with atomic_file(place) as temporary:
                    temporary.write_bytes(content)
        with progress.task(f"bringing back {version.name}", None):
            self.store.check_out(touched)
        lost = diff(self.manifest(version), self.now(), names=("", ""))
        if not lost.is_empty:
            wrong = [*lost.removed, *(one.case for one in lost.relabelled), *lost.reimaged]
            raise VersionError(
                f"Files that were brought back are those of {version.name}.",
                received=f"others for {', '.join(sorted(set(wrong))[:5])}",
                cure="Push the version again from where its files are whole.",
            )

    def _is_kept(self, name: str) -> bool:
        """Whether some version has a file of this name."""
        return any(name in self.history.files(one) for one in self.versions())

    def require_kept(self, *, progress: Progress = SILENT) -> None:
        """Pass if all files at hand are in a version, or there are none.

        Raises:
            VersionError: If changes would be lost.
        """
        if not (self.root / DESCRIPTION_FILE).is_file():
            return
        every = [self.history.files(one) for one in self.versions()]
        lost = [
            name
            for name in self._texts()
            if name != MANIFEST_FILE
            and not any(_content(self.root / name) == files.get(name) for files in every)
        ]
        lost += self.store.untracked()
        now = self.now(progress=progress)
        if not any(self.manifest(one).digest == now.digest for one in self.versions()):
            latest = self._latest()
            before = self.manifest(latest) if latest else _nothing(now)
            changes = diff(before, now, names=("", ""))
            lost += [*changes.added, *(one.case for one in changes.relabelled), *changes.reimaged]
            lost += [] if lost else ["what describes them"]
        if lost:
            raise VersionError(
                "Files at hand are in a version before others take their place.",
                received="changes that are in none: "
                + ", ".join(lost[:5])
                + ", ..." * (len(lost) > 5),
                cure='Keep them: medseg version commit -m "why"; or lose them: checkout --force.',
            )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _files_of(description: DatasetDescription, changes: VersionDiff) -> list[Path]:
    """Files at hand whose content changed."""
    changed = {one.case for one in changes.relabelled} | set(changes.reimaged)
    return [
        path
        for case in description.all_cases if case.id in changed
        for path in (*case.images, case.label) if path and path.is_file()
    ]  # fmt: skip


def _nothing(manifest: Manifest) -> Manifest:
    return manifest.model_copy(update={"cases": ()})


def _require_sound(manifest: Manifest) -> None:
    """Pass if every case can be read."""
    if manifest.faulty:
        first, more = manifest.faulty[0], len(manifest.faulty) - 1
        raise DatasetError(
            "Every case of a version can be read.",
            received=f"{first.id}: {first.fault.rstrip('.')}" + f", and {more} more" * bool(more),
            cure="Repair or leave it out; medseg dataset check lists every fault.",
        )


def _names_of(description: DatasetDescription, root: Path) -> list[str]:
    """Folders and files right below the root in which all images and labels lie.

    Raises:
        VersionError: If one lies outside.
    """
    home, names = root.resolve(), set()
    for case in description.all_cases:
        for path in (*case.images, case.label):
            if path is None:
                continue
            if not path.is_relative_to(root) or not path.resolve().is_relative_to(home):
                raise VersionError(
                    "Images and labels of a data set with versions lie in its folder.",
                    received=f"{path} of case {case.id}, outside of {root}",
                    cure="Begin the versions in the folder of the images, or copy them: "
                    f"medseg version init --data {root} --copy-from DATASET.",
                )
            names.add(path.relative_to(root).parts[0])
    return sorted(names)
