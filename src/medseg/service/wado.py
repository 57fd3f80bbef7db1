"""WADO-RS: what is held goes out (PS3.18, 10.4)."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any
from uuid import uuid4

import pydicom
from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydicom.filebase import DicomBytesIO
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medseg.errors import NotHeld
from medseg.service.auth import Caller, require
from medseg.service.dicom_json import DICOM, DICOM_JSON
from medseg.service.multipart import MediaType, media_type_of
from medseg.service.service import Service
from medseg.service.stow import Uid

router = APIRouter(prefix="/dicomweb", tags=["DICOMweb"])
Reader = Annotated[Caller, Depends(require("read"))]

_CHUNK = 1 << 18
_BULK_BYTES = 4096
_NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_OCTETS = "application/octet-stream"


@router.get("/studies/{study_uid}", response_class=Response, responses={406: {}, 404: {}})
def study(study_uid: Uid, request: Request, reader: Reader) -> Response:
    """All instances of a study."""
    return _instances(request, reader, study_uid=study_uid)


@router.get("/studies/{study_uid}/metadata", responses={404: {}})
def study_metadata(study_uid: Uid, request: Request, reader: Reader) -> JSONResponse:
    """Attributes of all instances of a study."""
    return _metadata(request, reader, study_uid=study_uid)


@router.get(
    "/studies/{study_uid}/series/{series_uid}",
    response_class=Response,
    responses={406: {}, 404: {}},
)
def series(study_uid: Uid, series_uid: Uid, request: Request, reader: Reader) -> Response:
    """All instances of a series."""
    return _instances(request, reader, study_uid=study_uid, series_uid=series_uid)


@router.get("/studies/{study_uid}/series/{series_uid}/metadata", responses={404: {}})
def series_metadata(
    study_uid: Uid, series_uid: Uid, request: Request, reader: Reader
) -> JSONResponse:
    """Attributes of all instances of a series."""
    return _metadata(request, reader, study_uid=study_uid, series_uid=series_uid)


@router.get(
    "/studies/{study_uid}/series/{series_uid}/instances/{sop_uid}",
    response_class=Response,
    responses={406: {}, 404: {}},
)
def instance(
    study_uid: Uid, series_uid: Uid, sop_uid: Uid, request: Request, reader: Reader
) -> Response:
    """One instance."""
    return _instances(request, reader, study_uid=study_uid, series_uid=series_uid, sop_uid=sop_uid)


@router.get(
    "/studies/{study_uid}/series/{series_uid}/instances/{sop_uid}/metadata", responses={404: {}}
)
def instance_metadata(
    study_uid: Uid, series_uid: Uid, sop_uid: Uid, request: Request, reader: Reader
) -> JSONResponse:
    """Attributes of one instance."""
    return _metadata(request, reader, study_uid=study_uid, series_uid=series_uid, sop_uid=sop_uid)


@router.get(
    "/studies/{study_uid}/series/{series_uid}/instances/{sop_uid}/frames/{numbers}",
    response_class=Response,
    responses={406: {}, 404: {}},
)
def frames(
    study_uid: Uid,
    series_uid: Uid,
    sop_uid: Uid,
    numbers: Annotated[str, Path(pattern=r"^[0-9]{1,6}(,[0-9]{1,6})*$", max_length=2048)],
    request: Request,
    reader: Reader,
) -> Response:
    """Frames of an instance, by their numbers from 1, decoded to little endian."""
    rows = _rows(request, study_uid=study_uid, series_uid=series_uid, sop_uid=sop_uid)
    if not _accepts(request, _OCTETS):
        return _not_acceptable(_OCTETS)
    service: Service = request.app.state.service
    chosen = [int(one) for one in numbers.split(",")]
    if not all(1 <= one <= rows[0]["frames"] for one in chosen):
        raise _nothing("a frame that the instance does not have")
    service.audit.note("read", reader.name, "instance", sop_uid, origin=reader.origin)
    dataset = pydicom.dcmread(service.held.path_of(rows[0]))
    if "PixelData" not in dataset:
        raise _nothing("an instance without pixels")
    return _multipart([_frame(dataset, one - 1) for one in chosen], _OCTETS)


def _frame(dataset: Any, index: int) -> bytes:
    """The bytes of one frame, in little endian; of bits, packed anew from its first bit."""
    from pydicom.pixels import pack_bits, pixel_array

    array = pixel_array(dataset, index=index)
    if int(dataset.BitsAllocated) == 1:
        return bytes(pack_bits(array, pad=False))
    return bytes(array.astype(array.dtype.newbyteorder("<")).tobytes())


def _rows(request: Request, **wanted: str) -> Sequence[dict[str, Any]]:
    service: Service = request.app.state.service
    rows = service.held.instances_of(**wanted)
    if not rows:
        raise _nothing("an identifier of nothing that is held")
    return rows


def _instances(request: Request, reader: Caller, **wanted: str) -> Response:
    rows = _rows(request, **wanted)
    accepted = _dicom_accepted(request)
    if accepted is None:
        return _not_acceptable(DICOM)
    service: Service = request.app.state.service
    syntax = accepted.parameters.get("transfer-syntax", ExplicitVRLittleEndian)
    plain = syntax != "*"
    if plain and not all(_can_be_plain(row, syntax) for row in rows):
        return _not_acceptable(f"{DICOM}; transfer-syntax=*")
    service.audit.note("read", reader.name, "study", rows[0]["study_uid"], origin=reader.origin)
    if accepted.kind == DICOM and len(rows) == 1:
        return StreamingResponse(_content(service, rows[0], plain), media_type=DICOM)
    return _multipart((_content(service, row, plain) for row in rows), DICOM)


def _can_be_plain(row: dict[str, Any], wanted: str) -> bool:
    """Whether an instance can be given as explicit little endian, or as it is stored."""
    return wanted in (ExplicitVRLittleEndian, row["transfer_syntax_uid"])


def _content(service: Service, row: dict[str, Any], plain: bool) -> Iterator[bytes]:
    """The bytes of an instance: from the disk, or decoded where it is stored compressed."""
    path = service.held.path_of(row)
    if plain and row["transfer_syntax_uid"] not in (ExplicitVRLittleEndian,):
        yield _explicit(path)
        return
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _explicit(path: Any) -> bytes:
    dataset = pydicom.dcmread(path)
    if dataset.file_meta.TransferSyntaxUID.is_compressed and "PixelData" in dataset:
        dataset.decompress()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = DicomBytesIO()
    pydicom.dcmwrite(
        buffer, dataset, implicit_vr=False, little_endian=True, enforce_file_format=True
    )
    return bytes(buffer.getvalue())


def _metadata(request: Request, reader: Caller, **wanted: str) -> JSONResponse:
    rows = _rows(request, **wanted)
    service: Service = request.app.state.service
    base = f"{str(request.base_url).rstrip('/')}/dicomweb"
    service.audit.note("read", reader.name, "study", rows[0]["study_uid"], origin=reader.origin)
    return JSONResponse([_attributes(service, row, base) for row in rows], media_type=DICOM_JSON)


def _attributes(service: Service, row: dict[str, Any], base_url: str) -> Any:
    dataset = pydicom.dcmread(service.held.path_of(row), stop_before_pixels=True)
    url = (
        f"{base_url}/studies/{row['study_uid']}/series/{row['series_uid']}"
        f"/instances/{row['sop_uid']}"
    )
    return dataset.to_json_dict(
        bulk_data_threshold=_BULK_BYTES,
        bulk_data_element_handler=lambda _: url,
        suppress_invalid_tags=True,
    )


def _multipart(parts: Any, kind: str) -> StreamingResponse:
    """Several bodies in one, written while they are read."""
    boundary = uuid4().hex

    def body() -> Iterator[bytes]:
        for part in parts:
            yield f"--{boundary}\r\nContent-Type: {kind}\r\n\r\n".encode()
            if isinstance(part, bytes):
                yield part
            else:
                yield from part
            yield b"\r\n"
        yield f"--{boundary}--\r\n".encode()

    return StreamingResponse(
        body(), media_type=f'multipart/related; type="{kind}"; boundary={boundary}'
    )


def _accepted(request: Request) -> list[MediaType]:
    words = request.headers.get("accept", "*/*")
    return [media_type_of(one) for one in _split(words)]


def _split(words: str) -> list[str]:
    """Members of a list, without cutting quoted texts."""
    members, quoted, start = [], False, 0
    for position, letter in enumerate(words):
        if letter == '"':
            quoted = not quoted
        elif letter == "," and not quoted:
            members.append(words[start:position])
            start = position + 1
    return [*members, words[start:]]


def _dicom_accepted(request: Request) -> MediaType | None:
    """The first accepted media type that instances can be given in; None if there is none."""
    for one in _accepted(request):
        if one.kind in ("*/*", "multipart/*"):
            return MediaType("multipart/related", {"transfer-syntax": "*"} | one.parameters)
        if one.kind == "multipart/related" and _inner(one, DICOM):
            return one
        if one.kind in (DICOM, "application/*"):
            return MediaType(DICOM, {"transfer-syntax": "*"} | one.parameters)
    return None


def _accepts(request: Request, kind: str) -> bool:
    for one in _accepted(request):
        if one.kind in ("*/*", "multipart/*", kind):
            return True
        if one.kind == "multipart/related" and _inner(one, kind):
            return True
    return False


def _inner(accepted: MediaType, kind: str) -> bool:
    """Whether the parts of an accepted multipart body may be of a kind."""
    inner = accepted.parameters.get("type", kind).lower()
    return inner in (kind, "application/*", "*/*")


def _not_acceptable(kind: str) -> JSONResponse:
    words = {"code": "service-not-acceptable", "message": f"This can be given as {kind}."}
    return JSONResponse(words, status_code=406)


def _nothing(received: str) -> NotHeld:
    return NotHeld(
        "What is asked for is held here.",
        received=received,
        cure="GET /dicomweb/studies lists what is held.",
    )
