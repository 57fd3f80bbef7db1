"""A folder of bundles of which one is in use, named by a small file that is replaced as a whole.

    BUNDLES/
        current             the name of the folder of the bundle in use
        NAME-0123456789ab/  bundles, each under the first digits of the SHA-256 of its weights
        history.json        what was put in use, when and why

Whoever serves the folder asks `resolve_current` before each job, and so takes up a promoted bundle
without a restart; the bundle of a job that is running stays where it is.
"""

from pathlib import Path

from medseg.errors import UnknownBundle
from medseg.files import write_text

POINTER_FILE = "current"


def resolve_current(folder: Path) -> Path:
    """The bundle in use of a folder of bundles; any other path as it is.

    Args:
        folder: A folder with a file `current`, or a bundle, or the name of one.

    Raises:
        UnknownBundle: If the file names no folder beside it.
    """
    pointer = folder / POINTER_FILE
    if not pointer.is_file():
        return folder
    name = pointer.read_text("utf-8", "replace").strip()
    bundle = folder / name
    is_name = name not in ("", ".", "..") and Path(name).name == name
    if not is_name or not bundle.is_dir():
        raise UnknownBundle(
            f"{pointer} names a bundle beside it.",
            received=repr(name),
            cure=f"Put one in use: medseg loop promote BUNDLE --bundles {folder}.",
        )
    return bundle


def point_to(folder: Path, name: str) -> None:
    """Put a bundle of the folder in use.

    Args:
        folder: The folder of bundles.
        name: Name of the bundle's folder in it.

    Raises:
        UnknownBundle: If there is none of this name.
        CannotWrite: If the file cannot be written.
    """
    if not (folder / name).is_dir():
        raise UnknownBundle("A bundle in use lies among the others.", received=f"{folder / name}")
    write_text(folder / POINTER_FILE, name + "\n")
