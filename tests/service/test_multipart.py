"""Bodies of several parts."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medseg.errors import BadUpload, TooLarge
from medseg.service.multipart import (
    PartWriter,
    media_type_of,
    read_parts,
    read_whole,
)

CONTENTS = st.lists(st.binary(max_size=200).filter(lambda x: b"--xx" not in x), max_size=4)


def body_of(contents: list[bytes], boundary: bytes = b"xx") -> bytes:
    body = b""
    for content in contents:
        body += b"--" + boundary + b"\r\nContent-Type: application/dicom\r\n\r\n"
        body += content + b"\r\n"
    return body + b"--" + boundary + b"--\r\n"


def parts_of(chunks: list[bytes], folder: Path) -> list[bytes]:
    writer = PartWriter("xx", folder, most_bytes=10_000, most_parts=10)
    for chunk in chunks:
        writer.write(chunk)
    return [part.file.read_bytes() for part in writer.finish()]


@given(contents=CONTENTS, cuts=st.lists(st.integers(0, 1200), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_how_a_body_is_cut_does_not_matter(
    contents: list[bytes], cuts: list[int], tmp_path: Path
) -> None:
    body = body_of(contents)
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    chunks = [body[a:b] for a, b in itertools.pairwise(edges)]
    assert parts_of(chunks, tmp_path) == contents


@given(junk=st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_junk_is_refused_and_nothing_else(junk: bytes, tmp_path: Path) -> None:
    writer = PartWriter("xx", tmp_path, most_bytes=10_000, most_parts=10)
    try:
        writer.write(junk)
        writer.finish()
    except BadUpload:
        writer.discard()
    assert all(part.file.is_file() for part in writer.parts) or not any(tmp_path.iterdir())


@given(content=st.binary(max_size=100), where=st.integers(0, 200), byte=st.integers(0, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_one_changed_byte_is_read_or_refused(
    content: bytes, where: int, byte: int, tmp_path: Path
) -> None:
    body = bytearray(body_of([content]))
    body[where % len(body)] = byte
    writer = PartWriter("xx", tmp_path, most_bytes=10_000, most_parts=10)
    try:
        writer.write(bytes(body))
        writer.finish()
    except BadUpload:
        writer.discard()


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 7):
        yield body[start : start + 7]


def test_parts_say_what_they_are(tmp_path: Path) -> None:
    body = (
        b'--xx\r\nContent-Disposition: form-data; name="files"; filename="../../a b.nii.gz"\r\n'
        b"Content-Type: application/gzip\r\n\r\nabc\r\n--xx--\r\n"
    )
    parts = asyncio.run(read_parts(_chunks(body), "xx", tmp_path, most_bytes=999, most_parts=1))
    assert [(part.media_type, part.name) for part in parts] == [("application/gzip", "a b.nii.gz")]
    assert parts[0].file.parent == tmp_path


@pytest.mark.parametrize(
    ("body", "most_bytes", "most_parts", "error", "words"),
    [
        (body_of([b"x" * 500]), 300, 5, TooLarge, "more than 300 bytes"),
        (body_of([b"a", b"b"]), 999, 1, TooLarge, "more than 1 parts"),
        (body_of([b"a"])[:-8], 999, 5, BadUpload, "ends before its last boundary"),
        (b"", 999, 5, BadUpload, "ends before its last boundary"),
        (b"--xx\r\nA: " + b"b" * 20_000, 99_999, 5, BadUpload, "against the grammar"),
    ],
)
def test_of_refused_bodies_nothing_is_left(
    tmp_path: Path,
    body: bytes,
    most_bytes: int,
    most_parts: int,
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        asyncio.run(
            read_parts(_chunks(body), "xx", tmp_path, most_bytes=most_bytes, most_parts=most_parts)
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("boundary", ["", "x" * 71, "ä", "a\r\nb", "a "])
def test_boundaries_that_are_none(tmp_path: Path, boundary: str) -> None:
    with pytest.raises(BadUpload, match="boundary"):
        PartWriter(boundary, tmp_path, most_bytes=1, most_parts=1)


def test_a_whole_body_is_bounded(tmp_path: Path) -> None:
    path = asyncio.run(read_whole(_chunks(b"abc" * 9), tmp_path, most_bytes=27))
    assert path.read_bytes() == b"abc" * 9
    path.unlink()
    with pytest.raises(TooLarge, match="more than 26 bytes"):
        asyncio.run(read_whole(_chunks(b"abc" * 9), tmp_path, most_bytes=26))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "kind", "parameters"),
    [
        (
            'multipart/related; type="application/dicom"; boundary="a b"',
            "multipart/related",
            {"type": "application/dicom", "boundary": "a b"},
        ),
        ("Application/DICOM;transfer-syntax=*", "application/dicom", {"transfer-syntax": "*"}),
        ("nonsense", "", {}),
        (None, "", {}),
        ("text/plain\r\nX: y", "text/plain  x: y", {}),
    ],
)
def test_media_types(text: str | None, kind: str, parameters: dict[str, str]) -> None:
    found = media_type_of(text)
    assert (found.kind, found.parameters) == (kind, parameters)
