"""Bodies of several parts, streamed to disk: multipart/related (STOW-RS) and form-data."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from medseg.errors import BadUpload, TooLarge

_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
"""RFC 2046, 5.1.1."""


@dataclass(frozen=True)
class MediaType:
    """A media type with its parameters (RFC 9110, 8.3.1).

    Attributes:
        kind: "application/dicom"; in lower case.
        parameters: By their names in lower case.
    """

    kind: str
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """One part that was written to disk.

    Attributes:
        file: Where its content is.
        media_type: What it says that it is; "" where it does not.
        name: File name that it gives; only ever shown.
        headers: All of them, by names in lower case.
    """

    file: Path
    media_type: str
    name: str
    headers: dict[str, str]


def media_type_of(text: str | None) -> MediaType:
    """Read a `Content-Type` or one member of `Accept`; an unreadable one has the kind ""."""
    message = Message()
    message["content-type"] = (text or "").replace("\r", " ").replace("\n", " ")
    words = message.get_params(failobj=[], unquote=True)
    if not words or "/" not in words[0][0]:
        return MediaType("")
    return MediaType(
        words[0][0].lower().strip(), {name.lower(): value for name, value in words[1:]}
    )


class PartWriter:
    """Takes a body a chunk at a time and writes its parts into a folder.

    Args:
        boundary: Between the parts.
        folder: Where the parts are written.
        most_bytes: Of the whole body.
        most_parts: Of the body.

    Raises:
        BadUpload: If the boundary is none.
    """

    def __init__(self, boundary: str, folder: Path, *, most_bytes: int, most_parts: int) -> None:
        raw = boundary.encode("latin-1", "replace")
        if not _BOUNDARY.fullmatch(raw):
            raise _bad("no boundary, or one that RFC 2046 does not allow")
        self.parts: list[Part] = []
        self._folder, self._most_bytes, self._most_parts = folder, most_bytes, most_parts
        self._bytes = 0
        self._field, self._value = b"", b""
        self._headers: dict[str, str] = {}
        self._file: BinaryIO | None = None
        self._path: Path | None = None
        self._is_whole = False
        self._parser = MultipartParser(
            raw,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_field,
                "on_header_value": self._on_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._open,
                "on_part_data": self._write,
                "on_part_end": self._close_part,
                "on_end": self._end,
            },
            max_size=float("inf"),
        )

    def write(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            BadUpload: If they go against the grammar.
            TooLarge: If there are too many bytes or parts.
        """
        self._bytes += len(chunk)
        if self._bytes > self._most_bytes:
            raise _too_large(f"more than {self._most_bytes} bytes")
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise _bad("a body against the grammar of multipart") from error

    def finish(self) -> list[Part]:
        """All parts, when the body has ended.

        Raises:
            BadUpload: If it ended within a part.
        """
        if not self._is_whole:
            raise _bad("a body that ends before its last boundary")
        return self.parts

    def discard(self) -> None:
        """Remove everything that was written."""
        if self._file is not None:
            self._file.close()
        for part in self.parts:
            part.file.unlink(missing_ok=True)
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _begin(self) -> None:
        if len(self.parts) >= self._most_parts:
            raise _too_large(f"more than {self._most_parts} parts")
        self._headers, self._field, self._value = {}, b"", b""

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        name = self._field.decode("latin-1").lower()
        self._headers[name] = self._value.decode("utf-8", "replace").strip()
        self._field, self._value = b"", b""

    def _open(self) -> None:
        self._path = self._folder / f"part-{uuid4().hex}"
        self._file = self._path.open("wb")

    def _write(self, data: bytes, start: int, end: int) -> None:
        assert self._file is not None
        self._file.write(data[start:end])

    def _close_part(self) -> None:
        if self._file is None or self._path is None:
            raise _bad("a part without an end of its headers")
        self._file.close()
        kind = media_type_of(self._headers.get("content-type")).kind
        self.parts.append(Part(self._path, kind, _file_name(self._headers), self._headers))
        self._file = self._path = None

    def _end(self) -> None:
        self._is_whole = True


async def read_parts(
    body: AsyncIterator[bytes], boundary: str, folder: Path, *, most_bytes: int, most_parts: int
) -> list[Part]:
    """Write the parts of a body into a folder; of a body that is refused nothing is left.

    Args:
        body: In chunks.
        boundary: Between the parts.
        folder: Where the parts are written.
        most_bytes: Of the whole body.
        most_parts: Of the body.

    Raises:
        BadUpload: If it goes against the grammar.
        TooLarge: If it has too many bytes or parts.
    """
    writer = PartWriter(boundary, folder, most_bytes=most_bytes, most_parts=most_parts)
    try:
        async for chunk in body:
            writer.write(chunk)
        return writer.finish()
    except BaseException:
        writer.discard()
        raise


async def read_whole(body: AsyncIterator[bytes], folder: Path, *, most_bytes: int) -> Path:
    """Write a body that is one file into a folder; of one that is refused nothing is left.

    Raises:
        TooLarge: If it has too many bytes.
    """
    path, total = folder / f"part-{uuid4().hex}", 0
    try:
        with path.open("wb") as file:
            async for chunk in body:
                total += len(chunk)
                if total > most_bytes:
                    raise _too_large(f"more than {most_bytes} bytes")
                file.write(chunk)
        return path
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _file_name(headers: dict[str, str]) -> str:
    message = Message()
    message["content-disposition"] = headers.get("content-disposition", "")
    name = message.get_filename("") or ""
    return Path(name.replace("\\", "/")).name[:255]


def _bad(received: str) -> BadUpload:
    return BadUpload(
        "A body is what its content type says.",
        received=received,
        cure="Send multipart/related or multipart/form-data with its boundary, whole.",
    )


def _too_large(received: str) -> TooLarge:
    return TooLarge(
        "An upload stays within limits.upload_bytes and limits.files_per_study.",
        received=received,
        cure="Send it in smaller requests, or raise the limits.",
    )
