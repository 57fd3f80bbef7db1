"""WADO-RS: what is held goes out (PS3.18, 10.4)."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path as FilePath
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from uuid import uuid4

import pydicom
from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from starlette.background import BackgroundTask

from medseg.errors import BadUpload, NotHeld
from medseg.service.accepting import accepts, dicom_accepted, not_acceptable
from medseg.service.auth import Caller, require
from medseg.service.decoding import decoded
from medseg.service.dicom_json import DICOM, DICOM_JSON
from medseg.service.multipart import MediaType
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
    if not accepts(request, _OCTETS):
        return not_acceptable(_OCTETS)
    service: Service = request.app.state.service
    chosen = [int(one) for one in numbers.split(",")]
    if not all(1 <= one <= rows[0]["frames"] for one in chosen):
        raise _nothing("a frame that the instance does not have")
    service.audit.note("read", reader.name, "instance", sop_uid, origin=reader.origin)
    try:
        with _files(service, rows, _NATIVE) as files:
            return _multipart(_frames(files[0], chosen), _OCTETS)
    except BadUpload as error:
        return not_acceptable(_OCTETS, str(error))


def _frames(file: FilePath, numbers: Sequence[int]) -> list[bytes]:
    """The bytes of frames, in little endian; of bits, each packed anew from its first bit.

    Args:
        file: An instance whose pixels are not compressed.
        numbers: Of the frames, from 1.

    Raises:
        NotHeld: If it has no pixels.
        BadUpload: If it has fewer than it says.
    """
    from pydicom.pixels import pack_bits, pixel_array

    found: dict[int, bytes] = {}
    dataset = pydicom.dcmread(file, stop_before_pixels=True)
    if "Rows" not in dataset or "BitsAllocated" not in dataset:
        raise _nothing("an instance without pixels")
    is_bits = int(dataset.BitsAllocated) == 1
    try:
        for number in set(numbers):
            array = pixel_array(file, index=number - 1, raw=True)
            plain = array.astype(array.dtype.newbyteorder("<"))
            found[number] = bytes(pack_bits(array, pad=False)) if is_bits else plain.tobytes()
    except (ValueError, AttributeError, KeyError) as error:
        raise BadUpload(
            "Frames are given of an instance that is whole.",
            received=type(error).__name__,
            cure="Ask for the instance as it is stored.",
        ) from error
    return [found[number] for number in numbers]


def _rows(request: Request, **wanted: str) -> Sequence[dict[str, Any]]:
    service: Service = request.app.state.service
    rows = service.held.instances_of(**wanted)
    if not rows:
        raise _nothing("an identifier of nothing that is held")
    return rows


def _instances(request: Request, reader: Caller, **wanted: str) -> Response:
    rows = _rows(request, **wanted)
    offered = [one for one in dicom_accepted(request) if _is_possible(one, rows)]
    if not offered:
        return not_acceptable(f"{DICOM}; transfer-syntax=*")
    service: Service = request.app.state.service
    syntax = offered[0].parameters.get("transfer-syntax", ExplicitVRLittleEndian)
    service.audit.note("read", reader.name, "study", rows[0]["study_uid"], origin=reader.origin)
    opened = ExitStack()
    try:
        files = opened.enter_context(_files(service, rows, None if syntax == "*" else (syntax,)))
    except BadUpload as error:
        return not_acceptable(DICOM, str(error))
    done = BackgroundTask(opened.close)
    if offered[0].kind == DICOM:
        return StreamingResponse(_content(files[0]), media_type=DICOM, background=done)
    return _multipart((_content(file) for file in files), DICOM, done)


def _is_possible(way: MediaType, rows: Sequence[dict[str, Any]]) -> bool:
    """Whether instances can be given so: as they are stored, or as explicit little endian."""
    syntax = way.parameters.get("transfer-syntax", ExplicitVRLittleEndian)
    if way.kind == DICOM and len(rows) != 1:
        return False
    return syntax in ("*", ExplicitVRLittleEndian) or all(
        row["transfer_syntax_uid"] == syntax for row in rows
    )


@contextmanager
def _files(
    service: Service, rows: Sequence[dict[str, Any]], syntaxes: Collection[str] | None
) -> Iterator[list[FilePath]]:
    """The files of instances; those of other transfer syntaxes anew, as explicit little endian.

    Args:
        service: Where they are held.
        rows: Of the table of instances.
        syntaxes: Those in which instances stay as they are; None for any.

    Raises:
        BadUpload: If one of them cannot be decoded.
    """
    files = [service.held.path_of(row) for row in rows]
    coded = [place for place, row in enumerate(rows)
             if syntaxes is not None and row["transfer_syntax_uid"] not in syntaxes]  # fmt: skip
    if not coded:
        yield files
        return
    limits = service.settings.limits
    with TemporaryDirectory(dir=service.held.incoming, prefix="out-") as folder:
        anew = decoded(
            [files[place] for place in coded], FilePath(folder),
            memory_bytes=limits.job_memory_bytes, seconds=limits.job_seconds,
        )  # fmt: skip
        for place, file in zip(coded, anew, strict=True):
            files[place] = file
        yield files


def _content(file: FilePath) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            yield chunk


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


def _multipart(parts: Any, kind: str, done: BackgroundTask | None = None) -> StreamingResponse:
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
        body(), media_type=f'multipart/related; type="{kind}"; boundary={boundary}', background=done
    )


def _nothing(received: str) -> NotHeld:
    return NotHeld(
        "What is asked for is held here.",
        received=received,
        cure="GET /dicomweb/studies lists what is held.",
    )
