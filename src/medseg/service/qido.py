"""QIDO-RS: what is held (PS3.18, 10.6)."""

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from medseg.errors import BadUpload
from medseg.service.auth import Caller, require
from medseg.service.dicom_json import DICOM_JSON, element, tag_of, text_of
from medseg.service.service import Service
from medseg.service.stow import Uid

STUDY = (
    "00080005", "00080020", "00080030", "00080050", "00080090", "00080201", "00100010", "00100020",
    "00100030", "00100040", "0020000D", "00200010", "00081030",
)  # fmt: skip
SERIES = ("00080060", "0008103E", "0020000E", "00200011", "00180015", "00080021", "00080031",
          "00400244", "00400245")  # fmt: skip
INSTANCE = ("00080016", "00080018", "00200013", "00280010", "00280011", "00280100", "00280008",
            "00080008", "00080023", "00080033")  # fmt: skip

_OPTIONS = ("limit", "offset", "includefield", "fuzzymatching")
_MOST = 5000
_RANGED = ("DA", "TM", "DT")

router = APIRouter(prefix="/dicomweb", tags=["DICOMweb"])


def _searching(request: Request, reader: Annotated[Caller, Depends(require("read"))]) -> Caller:
    """Who asks: answers hold names of patients, so that is noted, once a minute."""
    service: Service = request.app.state.service
    service.audit.note(
        "read", reader.name, "door", "qido", origin=reader.origin, every_seconds=60.0
    )
    return reader


Reader = Annotated[Caller, Depends(_searching)]


@router.get("/studies")
def studies(request: Request, reader: Reader) -> JSONResponse:
    """Studies that match the query."""
    return _found(request, "study", {})


@router.get("/series")
def every_series(request: Request, reader: Reader) -> JSONResponse:
    """Series of any study that match the query."""
    return _found(request, "series", {})


@router.get("/instances")
def every_instance(request: Request, reader: Reader) -> JSONResponse:
    """Instances of any study that match the query."""
    return _found(request, "instance", {})


@router.get("/studies/{study_uid}/series")
def series(study_uid: Uid, request: Request, reader: Reader) -> JSONResponse:
    """Series of a study that match the query."""
    return _found(request, "series", {"study_uid": study_uid})


@router.get("/studies/{study_uid}/instances")
def instances_of_study(study_uid: Uid, request: Request, reader: Reader) -> JSONResponse:
    """Instances of a study that match the query."""
    return _found(request, "instance", {"study_uid": study_uid})


@router.get("/studies/{study_uid}/series/{series_uid}/instances")
def instances(study_uid: Uid, series_uid: Uid, request: Request, reader: Reader) -> JSONResponse:
    """Instances of a series that match the query."""
    return _found(request, "instance", {"study_uid": study_uid, "series_uid": series_uid})


def _found(request: Request, level: str, within: dict[str, str]) -> JSONResponse:
    service: Service = request.app.state.service
    query = list(request.query_params.multi_items())
    wanted = {tag: value for name, value in query if name not in _OPTIONS
              for tag in [_tag(name)]}  # fmt: skip
    limit, offset = _number(query, "limit", _MOST), _number(query, "offset", 0)
    rows = service.held.instances_of(**within)
    base = f"{str(request.base_url).rstrip('/')}/dicomweb"
    matching = (one for one in grouped(rows, level, base) if matches(one, wanted))
    answers = list(islice(matching, offset, offset + min(limit, _MOST)))
    fields = _fields(query, level)
    kept = [{tag: value for tag, value in sorted(one.items()) if fields is None or tag in fields}
            for one in answers]  # fmt: skip
    headers = {}
    if any(name == "fuzzymatching" and value == "true" for name, value in query):
        headers["Warning"] = '299 medseg: "The fuzzymatching parameter is not supported."'
    return JSONResponse(kept, media_type=DICOM_JSON, headers=headers)


def grouped(rows: Sequence[dict[str, Any]], level: str, base_url: str) -> Iterator[dict[str, Any]]:
    """One answer for each study, series or instance, in the DICOM JSON model.

    Args:
        rows: Of the table of instances.
        level: "study", "series" or "instance".
        base_url: Of DICOMweb.
    """
    column = {"study": "study_uid", "series": "series_uid", "instance": "sop_uid"}[level]
    together: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        together.setdefault(row[column], []).append(row)
    studies: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        studies.setdefault(row["study_uid"], []).append(row)
    for members in together.values():
        row = members[0]
        answer = dict(row["header"])
        url = f"{base_url}/studies/{row['study_uid']}"
        answer |= _counts(studies[row["study_uid"]])
        if level != "study":
            url += f"/series/{row['series_uid']}"
            answer |= element("NumberOfSeriesRelatedInstances", _of_series(members, studies, row))
        if level == "instance":
            url += f"/instances/{row['sop_uid']}"
        answer |= element("RetrieveURL", url) | element("InstanceAvailability", "ONLINE")
        yield answer


def _of_series(
    members: Sequence[dict[str, Any]],
    studies: dict[str, list[dict[str, Any]]],
    row: dict[str, Any],
) -> int:
    uid = row["series_uid"]
    return sum(one["series_uid"] == uid for one in studies[row["study_uid"]])


def _counts(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What only a whole study knows."""
    modalities = sorted({text_of(row["header"], "00080060") for row in rows} - {""})
    return {
        **element("ModalitiesInStudy", *modalities),
        **element("NumberOfStudyRelatedSeries", len({row["series_uid"] for row in rows})),
        **element("NumberOfStudyRelatedInstances", len(rows)),
    }


def matches(answer: dict[str, Any], wanted: dict[str, str]) -> bool:
    """Whether an answer has the wanted values (PS3.4, C.2.2.2)."""
    return all(_matches(answer.get(tag, {}), value) for tag, value in wanted.items())


def _matches(attribute: dict[str, Any], wanted: str) -> bool:
    if wanted in ("", "*"):
        return True
    values = [_text(value) for value in attribute.get("Value", [])]
    kind = attribute.get("vr", "")
    if kind in _RANGED and "-" in wanted:
        low, _, high = wanted.partition("-")
        return any((not low or value >= low) and (not high or value <= high) for value in values)
    if kind == "UI":
        return any(value in re.split(r"[,\\]", wanted) for value in values)
    flags = re.IGNORECASE if kind == "PN" else 0
    pattern = re.compile(_wildcards(wanted), flags)
    return any(pattern.fullmatch(value) for value in values)


def _wildcards(wanted: str) -> str:
    return "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in wanted)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("Alphabetic", ""))
    return "" if value is None else str(value)


def _tag(name: str) -> str:
    tag = tag_of(name)
    if tag is None:
        raise _bad(f"the parameter {name[:64]!r}, which is no attribute")
    return tag


def _number(query: Sequence[tuple[str, str]], name: str, default: int) -> int:
    texts = [value for key, value in query if key == name]
    if not texts:
        return default
    if not texts[-1].isascii() or not texts[-1].isdigit() or len(texts[-1]) > 9:
        raise _bad(f"{name}={texts[-1][:32]!r}")
    return int(texts[-1])


def _fields(query: Sequence[tuple[str, str]], level: str) -> set[str] | None:
    """Attributes of an answer; None for all that are known."""
    names = [one for key, value in query if key == "includefield" for one in value.split(",")]
    if "all" in names:
        return None
    always = {"00080061", "00201206", "00201208", "00081190", "00080056", *STUDY}
    if level != "study":
        always |= {"00201209", *SERIES}
    if level == "instance":
        always |= set(INSTANCE)
    return always | {_tag(name) for name in names}


def _bad(received: str) -> BadUpload:
    return BadUpload(
        "A query names attributes by keyword or tag, and limit and offset as numbers.",
        received=received,
        cure="See PS3.18, 8.3.4.",
    )
