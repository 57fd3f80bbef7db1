"""Where bundles lie and what they say of themselves, without their weights and without torch."""

from pathlib import Path

from pydantic import ValidationError

from medseg.bundle_file import BundleFile
from medseg.errors import CorruptBundle, UnknownBundle
from medseg.promoted import resolve_current

DESCRIPTION_FILE = "bundle.json"

BUILTIN_FOLDER = Path(__file__).parent / "models"
"""Where the bundles in the box lie."""


def builtin_bundles() -> tuple[str, ...]:
    """Names of the bundles in the box."""
    found = BUILTIN_FOLDER.glob(f"*/{DESCRIPTION_FILE}")
    return tuple(sorted(path.parent.name for path in found))


def is_in_the_box(folder: Path) -> bool:
    """Whether a bundle came with medseg."""
    return folder.parent == BUILTIN_FOLDER


def find_bundle(name_or_path: str | Path) -> Path:
    """The folder of a bundle: one in the box by its name, a bundle's folder, or a run's.

    Of a folder of bundles of which one is in use (`medseg.promoted`) it is that one.

    Raises:
        UnknownBundle: If there is none.
    """
    given = resolve_current(Path(name_or_path))
    for folder in (given, given / "bundle", BUILTIN_FOLDER / str(name_or_path)):
        if (folder / DESCRIPTION_FILE).is_file():
            return folder
    known = ", ".join(builtin_bundles()) or "none in the box"
    raise UnknownBundle(
        "A model is the name of a bundle in the box, a bundle's folder or the folder of a run.",
        received=str(name_or_path),
        cure=f"Known names: {known}.",
    )


def read_description(folder: Path) -> BundleFile:
    """What `bundle.json` says.

    Raises:
        CorruptBundle: If it is none.
    """
    try:
        return BundleFile.model_validate_json((folder / DESCRIPTION_FILE).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise corrupt_bundle(folder, f"{DESCRIPTION_FILE}, {place}: {first['msg']}") from error


def corrupt_bundle(folder: Path, received: str) -> CorruptBundle:
    """The refusal of a bundle that changed after it was written."""
    return CorruptBundle(
        f"A bundle is read as it was written; {folder} is not.",
        received=received,
        cure="Copy the bundle again from its source, or train it again.",
    )
