"""Writing that leaves a whole file or none, and the names of what can go wrong.

A file is written beside its place under a temporary name, flushed to the disk, and renamed.
Whoever is interrupted (Ctrl-C, a full disk, a missing permission) leaves the old file or nothing.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from medseg.errors import CannotWrite


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; rename it to `path` when the block ends well.

    The temporary name keeps all suffixes of `path`, so that writers that look at it do right.

    Args:
        path: Where the file shall be. Missing folders are made.

    Raises:
        CannotWrite: If the folder or file cannot be written, or the disk is full.
    """
    temporary = _beside(path, "".join(path.suffixes[-2:]))
    try:
        with _write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch(mode=0o600, exist_ok=False)
            yield temporary
            _flush(temporary)
            temporary.chmod(0o644)
            temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            temporary.unlink()


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it to `path` when the block ends well.

    A folder that is already at `path` is replaced only then.

    Raises:
        CannotWrite: If the folder cannot be written, or the disk is full.
    """
    temporary = _beside(path)
    try:
        with _write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir(mode=0o700)
            yield temporary
            temporary.chmod(0o755)
            if path.exists():
                aside = Path(tempfile.mkdtemp(prefix=".replaced-", dir=path.parent))
                path.replace(aside / path.name)
                temporary.replace(path)
                shutil.rmtree(aside)
            else:
                temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(path: Path, suffix: str = "") -> Path:
    """A temporary name in the same folder, known before an interrupt could leave anything there."""
    return path.with_name(f".partial-{secrets.token_hex(4)}{suffix}")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all; bytes of a name that are no text become escapes.

    Raises:
        CannotWrite: If the file cannot be written.
    """
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _reason(error: OSError) -> str:
    """The system's own words; libraries that raise again wrap them in a traceback.

    numpy tells of a full disk by the items that it could not write.
    """
    if "requested and" in str(error):
        return os.strerror(errno.ENOSPC)
    first: BaseException | None = error
    while first is not None:
        if isinstance(first, OSError) and first.strerror:
            return first.strerror
        first = first.__cause__
    return str(error).partition("\n")[0]


@contextlib.contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write into one clear sentence."""
    try:
        yield
    except (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise CannotWrite(
            f"Results are written to {path}, which must be a place that can be written.",
            received=error.strerror or str(error),
            cure="Choose another folder with --out, or change its permissions.",
        ) from error
    except OSError as error:
        raise CannotWrite(
            f"Results are written to {path}, and all of it must fit.",
            received=_reason(error),
            cure="Free some space or choose another folder with --out; nothing half was left.",
        ) from error
