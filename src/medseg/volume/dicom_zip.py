"""A zip becomes files within bounds: under names of our own, so that none can leave its folder."""

import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from medseg.errors import CannotWrite, UnreadableFile

MOST_BYTES = 64 * 2**30
"""Of all files together, where the caller gives no bound of its own."""

MOST_FILES = 100_000

_CHUNK = 1 << 20

_ANY_RATIO_BYTES = 2**30
_MOST_RATIO = 100
"""What a zip becomes beyond the first gigabyte is at most so many times its own size."""

_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Others may want gigabytes of memory to be unpacked, and nothing in medicine uses them."""

_BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, EOFError, ValueError,
    OverflowError,
)  # fmt: skip
"""What `zipfile` says to zips that are not whole."""


def is_zip(path: Path) -> bool:
    """Whether a file begins as a zip does."""
    try:
        with path.open("rb") as file:
            return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError:
        return False


def unzipped(
    path: Path, into: Path, *, most_bytes: int = MOST_BYTES, most_files: int = MOST_FILES
) -> list[Path]:
    """Unpack the files of a zip; folders of the zip become numbered folders.

    What is no ordinary file (a link), and what only computers write (`__MACOSX`, `.DS_Store`), is
    left out. A zip within a zip stays one.

    Args:
        path: The zip.
        into: A folder that is there; files are named `FOLDER/NUMBER` below it.
        most_bytes: Of all files together, as they are counted while they are written.
        most_files: How many there may be.

    Returns:
        The files, in the order of the zip.

    Raises:
        UnreadableFile: If it is no whole zip, is encrypted or compressed otherwise than by deflate,
            or holds more than it may. What was unpacked by then is removed.
        CannotWrite: If there is no room for its content.
    """
    written: list[Path] = []
    bound = min(most_bytes, max(_ANY_RATIO_BYTES, _MOST_RATIO * path.stat().st_size))
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if _is_wanted(one)]
            if len(members) > most_files:
                raise _refused(path, f"{len(members)} files, more than {most_files}")
            folders: dict[str, Path] = {}
            for number, member in enumerate(members):
                parent = member.filename.replace("\\", "/").rpartition("/")[0]
                folder = folders.setdefault(parent, into / f"{len(folders):04}")
                folder.mkdir(exist_ok=True)
                place = folder / f"{number:06}{_suffix(member.filename)}"
                written.append(place)
                bound -= _write(archive, member, place, bound, path)
        return written
    except BaseException as error:
        for file in written:
            file.unlink(missing_ok=True)
        told = _told(path, error)
        if told is error:
            raise
        raise told from error


@contextmanager
def as_folder(path: Path) -> Iterator[Path]:
    """The content of a zip as a folder, until the block ends; what is no zip, as it is.

    Args:
        path: A zip, or anything else.

    Yields:
        A folder of the zip's name, without its ending, that holds all that was in it: in folders
        of that name with a number, where there are several.

    Raises:
        UnreadableFile: If it is no whole zip, or would fill half of the disk.
        CannotWrite: If there is no room for its content.
    """
    if not (path.is_file() and is_zip(path)):
        yield path
        return
    with TemporaryDirectory(prefix="medseg-zip-") as temporary:
        root, name = Path(temporary), re.sub(r"[^\w.-]+", "_", path.stem).strip(".") or "zip"
        most_bytes = min(MOST_BYTES, shutil.disk_usage(root).free // 2)
        unzipped(path, root, most_bytes=most_bytes)
        folders = sorted(root.iterdir())
        if len(folders) == 1:
            yield folders[0].rename(root / name)
            return
        (root / name).mkdir()
        for number, folder in enumerate(folders, 1):
            folder.rename(root / name / f"{name}-{number}")
        yield root / name


def _is_wanted(member: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(member.external_attr >> 16)
    name = member.filename.replace("\\", "/")
    hidden = name.startswith("__MACOSX/") or name.rpartition("/")[2] in (".DS_Store", "Thumbs.db")
    return not member.is_dir() and kind in (0, stat.S_IFREG) and not hidden


def _suffix(name: str) -> str:
    """The ending, where readers look at it."""
    lower = name.lower()
    return next((end for end in (".nii.gz", ".nii", ".dcm") if lower.endswith(end)), "")


def _write(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, place: Path, left: int, path: Path
) -> int:
    """Write one file; its bytes. Sizes in the zip's directory are not believed."""
    if member.compress_type not in _COMPRESSIONS:
        raise _refused(path, "a compression other than deflate")
    total = 0
    with archive.open(member) as source, place.open("wb") as target:
        while chunk := source.read(_CHUNK):
            total += len(chunk)
            if total > left:
                raise _refused(path, "more bytes than it may hold when it is unpacked")
            target.write(chunk)
    return total


def _told(path: Path, error: BaseException) -> BaseException:
    """What is said of an error; itself where it is not of the zip's making."""
    if isinstance(error, _BROKEN):
        return _refused(path, str(error) or type(error).__name__)
    if isinstance(error, RuntimeError):  # how `zipfile` says that a password is needed
        return _refused(path, "an encrypted file in it")
    if isinstance(error, OSError):
        return CannotWrite(
            "There must be room to unpack a zip.",
            received=f"{path.name}: {error.strerror}",
            cure="Make room where temporary files lie, or unpack it yourself and give the folder.",
        )
    return error


def _refused(path: Path, received: str) -> UnreadableFile:
    return UnreadableFile(
        "A zip is whole, not encrypted, and holds no more than it may.",
        received=f"{path.name}: {received}",
        cure="Unpack it yourself and give the folder, or make the zip again.",
    )
