"""SHA-256 of the files of a data set, read again only where a file was touched.

A file counts as untouched while its size, inode and both times (of its content, and of its entry,
which no program can set back) are what they were, and lay well before it was read. Whoever does
not want to believe that asks for every byte.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from medseg.errors import CannotWrite
from medseg.files import sha256, write_text
from medseg.progress import SILENT, Progress

_SETTLED_NS = 1_000_000_000
"""A file that changed in the second before it was read may change again without a new time."""


class Seen(NamedTuple):
    """A file as it was when it was read: bytes, times in ns, inode, when it was read, SHA-256."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    read_ns: int
    digest: str

    def is_of(self, stat: os.stat_result) -> bool:
        """Whether the file cannot have changed since."""
        same = (self.size, self.mtime_ns, self.ctime_ns, self.inode) == (
            stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino,
        )  # fmt: skip
        return same and max(self.mtime_ns, self.ctime_ns) + _SETTLED_NS < self.read_ns


class Contents:
    """Digests of files, with a memory on the disk.

    Args:
        memory: File of the memory; what cannot be read there is forgotten, and where it cannot be
            written nothing is remembered. None for no memory.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self._memory = memory
        self._seen: dict[str, Seen] = {}
        self._asked: set[str] = set()
        if memory is not None and memory.is_file():
            try:
                kept = json.loads(memory.read_text("utf-8"))
                self._seen = {path: Seen(*one) for path, one in kept.items()}
            except (ValueError, TypeError, AttributeError):
                self._seen = {}

    def digests(
        self, paths: Iterable[Path], *, verify: bool = False, progress: Progress = SILENT
    ) -> Mapping[Path, str]:
        """SHA-256 of files in hexadecimal; of a folder, over the names and digests of its files.

        Args:
            paths: Files and folders; one that is not there has the digest "".
            verify: Whether every byte is read, whatever is remembered.
            progress: Told after each of them.

        Raises:
            OSError: If a file cannot be read.
        """
        wanted = list(dict.fromkeys(paths))
        before = dict(self._seen)
        self._asked.clear()
        found: dict[Path, str] = {}
        with (
            progress.task("reading files", len(wanted)) as task,
            ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool,
        ):
            for path, digest in zip(
                wanted, pool.map(lambda one: self._of(one, verify=verify), wanted), strict=True
            ):
                found[path] = digest
                task.advance()
        self._seen = {name: self._seen[name] for name in sorted(self._asked)}
        if self._memory is not None and self._seen != before:
            with contextlib.suppress(CannotWrite):
                write_text(self._memory, json.dumps(self._seen) + "\n")
        return found

    def _of(self, path: Path, *, verify: bool) -> str:
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.is_file())
            parts = [[str(p.relative_to(path)), self._file(p, verify=verify)] for p in inside]
            return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return self._file(path, verify=verify) if path.is_file() else ""

    def _file(self, path: Path, *, verify: bool) -> str:
        stat, name = path.stat(), str(path.absolute())
        self._asked.add(name)
        seen = self._seen.get(name)
        if seen is not None and not verify and seen.is_of(stat):
            return seen.digest
        read_ns, digest = time.time_ns(), sha256(path)
        self._seen[name] = Seen(
            stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, read_ns, digest
        )
        return digest
