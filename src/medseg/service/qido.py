"""QIDO-RS: what is held (PS3.18, 10.6)."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from medseg.errors import BadUpload
from medseg.service.accepting import accepts, not_acceptable
from medseg.service.auth import Caller, require
from medseg.service.dicom_json import DICOM_JSON, element, tag_of, text_of
from medseg.service.matching import matches
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

Level = Literal["study", "series", "instance"]

_COLUMNS = {"study": "study_uid", "series": "series_uid", "instance": "sop_uid"}
_STUDY_UID = "0020000D"
_OPTIONS = ("limit", "offset", "includefield", "fuzzymatching")
_MOST = 5000

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


def _found(request: Request, level: Level, within: dict[str, str]) -> JSONResponse:
    service: Service = request.app.state.service
    if not accepts(request, DICOM_JSON, "application/json"):
        return not_acceptable(DICOM_JSON)
    query = list(request.query_params.multi_items())
    wanted = {tag: value for name, value in query if name not in _OPTIONS
              for tag in [_tag(name)]}  # fmt: skip
    limit, offset = _number(query, "limit", _MOST), _number(query, "offset", 0)
    fields = _fields(query, level)
    rows = service.held.instances_of(study_uid=within.get("study_uid", _only_study(wanted)))
    base = f"{str(request.base_url).rstrip('/')}/dicomweb"
    matching = (
        answer
        for answer, behind in grouped(rows, level, base, series_uid=within.get("series_uid"))
        if matches([answer, *behind], wanted)
    )
    answers = list(islice(matching, offset, offset + min(limit, _MOST)))
    kept = [{tag: value for tag, value in sorted(one.items()) if fields is None or tag in fields}
            for one in answers]  # fmt: skip
    warnings = []
    if any(name == "fuzzymatching" and value == "true" for name, value in query):
        warnings.append("The fuzzymatching parameter is not supported.")
    more = sum(1 for _ in matching) if limit >= _MOST else 0
    if more:
        warnings.append(f"There are {more} additional results that can be requested.")
    headers = {"Warning": ", ".join(f'299 medseg "{one}"' for one in warnings)} if warnings else {}
    return JSONResponse(kept, media_type=DICOM_JSON, headers=headers)


def _only_study(wanted: dict[str, str]) -> str | None:
    """The study that a query asks for by its UID, which need not be looked for among all."""
    uid = wanted.get(_STUDY_UID, "")
    return uid if uid and all(part.isdigit() for part in uid.split(".")) else None


def grouped(
    rows: Sequence[dict[str, Any]], level: Level, base_url: str, series_uid: str | None = None
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """One answer for each study, series or instance in the DICOM JSON model, and what is behind it.

    Args:
        rows: Of the table of instances: whole studies, since answers count what they have.
        level: What there is an answer for.
        base_url: Of DICOMweb.
        series_uid: The only series that there are answers for; None for all.

    Yields:
        The answer, and the headers of its instances.
    """
    studies = _by(rows, "study_uid")
    counts = {uid: _counts(members) for uid, members in studies.items()}
    of_series = _by(rows, "series_uid")
    for members in _by(rows, _COLUMNS[level]).values():
        row = members[0]
        if series_uid not in (None, row["series_uid"]):
            continue
        answer = dict(row["header"]) | counts[row["study_uid"]]
        url = f"{base_url}/studies/{row['study_uid']}"
        if level != "study":
            url += f"/series/{row['series_uid']}"
            count = len(of_series[row["series_uid"]])
            answer |= element("NumberOfSeriesRelatedInstances", count)
        if level == "instance":
            url += f"/instances/{row['sop_uid']}"
        answer |= element("RetrieveURL", url) | element("InstanceAvailability", "ONLINE")
        yield answer, [one["header"] for one in members]


def _by(rows: Sequence[dict[str, Any]], column: str) -> dict[str, list[dict[str, Any]]]:
    together: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        together.setdefault(row[column], []).append(row)
    return together


def _counts(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What only a whole study knows."""
    modalities = sorted({text_of(row["header"], "00080060") for row in rows} - {""})
    return {
        **element("ModalitiesInStudy", *modalities),
        **element("NumberOfStudyRelatedSeries", len({row["series_uid"] for row in rows})),
        **element("NumberOfStudyRelatedInstances", len(rows)),
    }


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


def _fields(query: Sequence[tuple[str, str]], level: Level) -> set[str] | None:
    """Attributes of an answer; None for all that are known of an instance.

    Of a study or a series, "all" does not mean what only one of its instances has.
    """
    names = [one for key, value in query if key == "includefield" for one in value.split(",")]
    if "all" in names:
        if level == "instance":
            return None
        names = [one for one in names if one != "all"]
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
