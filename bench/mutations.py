"""Broken files and bodies, drawn from a seed: what a service may be sent by accident or malice."""

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import generate_uid

ESCAPED = "medseg-fuzz-escaped"
"""No file of this name may ever be made."""

_UP = "../" * 12
_WORDS = (
    "", "\x00", "-1", "0", "99999999999999999999", "1e309", "nan", "ä" * 40, "../" + ESCAPED,
    f"{_UP}tmp/{ESCAPED}", "'; DROP TABLE jobs; --", "a" * 70_000, "1.2.3\\4.5.6", "%s%n",
)  # fmt: skip
_SYNTAXES = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.3.4.5", "",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One request.

    Attributes:
        kind: What was done.
        route: Where it goes.
        media_type: What it says that it is.
        body: What it is.
    """

    kind: str
    route: str
    media_type: str
    body: bytes


Bytes = Callable[[bytes, np.random.Generator], bytes]


def flipped(data: bytes, generator: np.random.Generator) -> bytes:
    """Some bits are others."""
    array = np.frombuffer(data, np.uint8).copy()
    places = generator.integers(0, min(len(array), 4096), int(generator.integers(1, 64)))
    array[places] ^= generator.integers(1, 256, len(places)).astype(np.uint8)
    return array.tobytes()


def cut(data: bytes, generator: np.random.Generator) -> bytes:
    """The end is missing."""
    return data[: int(generator.integers(0, len(data)))]


def spliced(data: bytes, generator: np.random.Generator) -> bytes:
    """A piece is there twice, or not at all."""
    start, length = int(generator.integers(0, len(data))), int(generator.integers(1, 2048))
    piece = data[start : start + length] if generator.random() < 0.5 else b""
    return data[:start] + piece + piece + data[start + length :]


def overlong(data: bytes, generator: np.random.Generator) -> bytes:
    """An element says that it is longer than the file."""
    place = int(generator.integers(132, min(len(data) - 8, 3000)))
    length = int(generator.choice([0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, 0x10000000, 0]))
    return data[:place] + struct.pack("<I", length) + data[place + 4 :]


def misvalued(data: bytes, generator: np.random.Generator) -> bytes:
    """An attribute has a value that it cannot have, or is not there."""
    dataset = _read(data)
    for _ in range(int(generator.integers(1, 4))):
        element = list(dataset)[int(generator.integers(0, len(dataset)))]
        if generator.random() < 0.25:
            del dataset[element.tag]
        elif element.VR in ("US", "SS", "UL", "SL"):
            element.value = int(generator.choice([0, 1, 65_535]))
        elif element.VR not in ("SQ", "OB", "OW", "AT", "FD", "FL", "UN"):
            element._value = str(generator.choice(_WORDS))
    return _written(dataset)


def misidentified(data: bytes, generator: np.random.Generator) -> bytes:
    """Identifiers that are paths, or another instance's."""
    dataset = _read(data)
    words = (*_WORDS, generate_uid(entropy_srcs=[str(generator.random())]), "1.2.3", "1." * 40)
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID"):
        if generator.random() < 0.6:
            dataset[keyword]._value = str(generator.choice(words))
    dataset.file_meta.MediaStorageSOPInstanceUID = str(dataset.SOPInstanceUID)[:64]
    return _written(dataset)


def misencoded(data: bytes, generator: np.random.Generator) -> bytes:
    """The transfer syntax is not the one that it was written in."""
    dataset = _read(data)
    old = dataset.file_meta.TransferSyntaxUID.encode()
    new = str(generator.choice(_SYNTAXES)).encode()
    return data.replace(old.ljust(len(old) + len(old) % 2, b"\0"), new.ljust(len(old), b"\0"), 1)


def huge(data: bytes, generator: np.random.Generator) -> bytes:
    """More pixels than it has, up to more than anybody has."""
    dataset = _read(data)
    dataset.Rows, dataset.Columns = (int(n) for n in generator.choice([0, 1, 512, 65_535], 2))
    dataset.NumberOfFrames = int(generator.choice([0, 1, 100_000, 2_000_000_000]))
    return _written(dataset)


def nested(data: bytes, generator: np.random.Generator) -> bytes:
    """Sequences within sequences, deeper than any reader recurses."""
    dataset = _read(data)
    inner = Dataset()
    for _ in range(int(generator.integers(50, 200))):
        outer = Dataset()
        outer.ReferencedImageSequence = DicomSequence([inner])
        inner = outer
    dataset.ReferencedImageSequence = DicomSequence([inner])
    return _written(dataset)


def deflated_bomb(data: bytes, generator: np.random.Generator) -> bytes:
    """Few bytes that become many when they are inflated."""
    dataset = _read(data)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    if generator.random() < 0.5:
        dataset.ImageComments = "0" * 1000
    begin = io.BytesIO()
    pydicom.dcmwrite(begin, dataset, enforce_file_format=True)
    whole = begin.getvalue()
    end_of_meta = 144 + int(pydicom.dcmread(io.BytesIO(whole)).file_meta[0x00020000].value)
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = b"\0" * (1 << 20)
    inside = zlib.decompress(whole[end_of_meta:], -zlib.MAX_WBITS)
    packed = squeezer.compress(inside)
    packed += b"".join(squeezer.compress(zeros) for _ in range(int(generator.integers(8, 96))))
    return whole[:end_of_meta] + packed + squeezer.flush()


DICOM_MUTATIONS: tuple[Bytes, ...] = (
    flipped, cut, spliced, overlong, misvalued, misidentified, misencoded, huge, nested,
    deflated_bomb,
)  # fmt: skip


def bodies(parts: Sequence[bytes], generator: np.random.Generator) -> tuple[str, str, bytes]:
    """A body of several parts that is broken: what was done, its media type, its bytes."""
    boundary = "limit"
    body = b"".join(
        b"--limit\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts
    )
    whole = body + b"--limit--\r\n"
    related = 'multipart/related; type="application/dicom"; boundary='
    kinds: tuple[tuple[str, str, bytes], ...] = (
        ("no end", related + boundary, body),
        ("no boundary", "multipart/related", whole),
        ("another boundary", related + "elsewhere", whole),
        ("a boundary of many letters", related + "x" * 5000, whole),
        ("bare line feeds", related + boundary, whole.replace(b"\r\n", b"\n", 40)),
        ("no headers", related + boundary, whole.replace(b"Content-Type: application/dicom", b"")),
        ("a header without end", related + boundary, b"--limit\r\nX: " + b"y" * 200_000),
        ("empty", related + boundary, b""),
        ("parts without content", related + boundary, b"--limit\r\n\r\n\r\n" * 50 + b"--limit--"),
        ("the boundary within a part", related + boundary, whole + whole),
        ("a name that is a path", "multipart/form-data; boundary=limit",
         whole.replace(b"Content-Type: application/dicom", b"Content-Disposition: form-data; "
                       b'name="files"; filename="' + f"{_UP}tmp/{ESCAPED}".encode() + b'"')),
        ("another type", "multipart/mixed; boundary=limit", whole),
        ("flipped", related + boundary, flipped(whole, generator)),
        ("cut", related + boundary, cut(whole, generator)),
        ("no media type", "", whole),
        ("letters that are none", "multipart/related; boundary=\x7f\x80ä", whole),
    )  # fmt: skip
    kind, media_type, content = kinds[int(generator.integers(0, len(kinds)))]
    return kind, media_type, content


def zipped(parts: Sequence[bytes], generator: np.random.Generator) -> tuple[str, bytes]:
    """A zip that is broken or leads elsewhere: what was done, its bytes."""
    kinds = ("paths", "links", "a zip in a zip", "a bomb", "flipped", "cut", "nothing", "no zip")
    kind = kinds[int(generator.integers(0, len(kinds)))]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for number, part in enumerate(parts if kind != "nothing" else ()):
            name = f"{number}.dcm"
            if kind == "paths":
                name = str(generator.choice([f"/tmp/{ESCAPED}", f"{_UP}tmp/{ESCAPED}",
                                             f"..\\..\\{ESCAPED}", f"C:\\{ESCAPED}"]))  # fmt: skip
            file.writestr(name, part)
        if kind == "links":
            link = zipfile.ZipInfo("link")
            link.external_attr = 0o120777 << 16
            file.writestr(link, f"/tmp/{ESCAPED}")
        if kind == "a bomb":
            file.writestr("zeros.dcm", b"\0" * (96 << 20))
    data = buffer.getvalue()
    if kind == "a zip in a zip":
        outer = io.BytesIO()
        with zipfile.ZipFile(outer, "w") as file:
            file.writestr("inner.zip", data)
        data = outer.getvalue()
    data = {"flipped": flipped, "cut": cut}.get(kind, lambda b, _: b)(data, generator)
    return f"zip: {kind}", data if kind != "no zip" else b"PK\x03\x04" + data[:50]


def nifti(data: bytes, generator: np.random.Generator) -> bytes:
    """A NIfTI file whose header lies, or whose stream is broken."""
    raw = bytearray(gzip.decompress(data))
    place = int(generator.choice([0, 40, 42, 44, 46, 70, 72, 76, 80, 108, 112, 254, 280]))
    raw[place : place + 2] = struct.pack("<h", int(generator.choice([-1, 0, 1, 32_767, 1024])))
    packed = gzip.compress(bytes(raw), 1)
    return cut(packed, generator) if generator.random() < 0.3 else packed


def cases(
    count: int, sources: Sequence[bytes], image: bytes, generator: np.random.Generator
) -> list[Case]:
    """Requests to a service, each broken in its own way.

    Args:
        count: How many.
        sources: DICOM files to start from.
        image: A NIfTI file, compressed.
        generator: Draws.
    """
    return [_case(sources, image, generator) for _ in range(count)]


def _case(sources: Sequence[bytes], image: bytes, generator: np.random.Generator) -> Case:
    source = sources[int(generator.integers(0, len(sources)))]
    draw = generator.random()
    if draw < 0.08:
        return Case("nifti", "/segment", "application/octet-stream", nifti(image, generator))
    if draw < 0.18:
        kind, body = zipped([source] * 2, generator)
        return Case(kind, "/segment", "application/zip", body)
    if draw < 0.38:
        kind, media_type, body = bodies([source] * 2, generator)
        route = "/dicomweb/studies" if generator.random() < 0.7 else "/segment"
        return Case(f"body: {kind}", route, media_type, body)
    mutation = DICOM_MUTATIONS[int(generator.integers(0, len(DICOM_MUTATIONS)))]
    try:
        broken = mutation(source, generator)
    except Exception:  # not every source can be written again
        mutation, broken = flipped, flipped(source, generator)
    kind = f"dicom: {mutation.__name__}"
    if generator.random() < 0.3:
        return Case(kind, "/segment", "application/dicom", broken)
    body = b"--limit\r\nContent-Type: application/dicom\r\n\r\n" + broken + b"\r\n--limit--\r\n"
    media_type = 'multipart/related; type="application/dicom"; boundary=limit'
    return Case(kind, "/dicomweb/studies", media_type, body)


def odd_files(folders: Sequence[Path]) -> list[bytes]:
    """All files of some folders."""
    return [
        path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def _read(data: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def _written(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    with pydicom.config.disable_value_validation():
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=False)
    return buffer.getvalue()
