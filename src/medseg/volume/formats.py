"""Which image files there are, told by the end of their names."""

from pathlib import Path

from medseg.errors import UnknownFormat

NIFTI_SUFFIXES = (".nii.gz", ".nii")
TIFF_SUFFIXES = (".tif", ".tiff")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", *TIFF_SUFFIXES)
NRRD_SUFFIXES = (".nrrd", ".nhdr")
META_SUFFIXES = (".mha", ".mhd")
ITK_SUFFIXES = (*NRRD_SUFFIXES, *META_SUFFIXES)

IMAGE_SUFFIXES: tuple[str, ...] = (
    *NIFTI_SUFFIXES,
    *PICTURE_SUFFIXES,
    *ITK_SUFFIXES,
)
"""What an image file may end in. DICOM is told by its content: its files often have no ending."""

DICOM_SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")
"""Names by which a file claims to be DICOM, whatever its content."""

_DICOM_MAGIC_AT = 128


def suffix_of(path: Path) -> str:
    """The image suffix of a name in lower case, or "" if it has none."""
    name = path.name.lower()
    return next((s for s in IMAGE_SUFFIXES if name.endswith(s) and len(name) > len(s)), "")


def stem_of(path: Path) -> str:
    """The name without its image suffix: "case.nii.gz" -> "case", "scan.v2.png" -> "scan.v2"."""
    return path.name[: len(path.name) - len(suffix_of(path))]


def format_of(suffix: str) -> str:
    """The family that a suffix belongs to: "nifti", "image", "nrrd" or "metaimage"."""
    if suffix in NIFTI_SUFFIXES:
        return "nifti"
    if suffix in PICTURE_SUFFIXES:
        return "image"
    return "nrrd" if suffix in NRRD_SUFFIXES else "metaimage"


def is_image_file(path: Path) -> bool:
    """Whether the name is that of an image; hidden files (`._case.nii.gz`) are none."""
    return not path.name.startswith(".") and bool(suffix_of(path))


def is_dicom_file(path: Path) -> bool:
    """Whether the content begins as a DICOM file does (PS3.10, 7.1), or the name says so."""
    if not path.is_file():
        return False
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    with path.open("rb") as file:
        file.seek(_DICOM_MAGIC_AT)
        return file.read(4) == b"DICM"


def unknown_format(path: Path) -> UnknownFormat:
    """The error for a name that is none of an image."""
    return UnknownFormat(
        f"The name of an image ends in {', '.join(IMAGE_SUFFIXES)}.",
        received=path.name or str(path),
        cure="Choose one of these, or convert the file first.",
    )
