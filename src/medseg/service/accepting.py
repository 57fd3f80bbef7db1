"""Which media types an answer may be given in: the header Accept (RFC 9110, 12.5.1)."""

from fastapi import Request
from fastapi.responses import JSONResponse

from medseg.service.dicom_json import DICOM
from medseg.service.multipart import MediaType, media_type_of


def accepted(request: Request) -> list[MediaType]:
    """Members of the header, but for those that are refused with q=0; all if there is none."""
    words = ",".join(request.headers.getlist("accept")) or "*/*"
    members = [media_type_of(one) for one in _split(words)]
    return [one for one in members if not _is_refused(one)]


def _is_refused(member: MediaType) -> bool:
    try:
        return float(member.parameters.get("q", "1")) <= 0
    except ValueError:
        return False


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


def dicom_accepted(request: Request) -> list[MediaType]:
    """How instances may be given: in parts or one alone, each with its transfer syntax or "*"."""
    found = []
    for one in accepted(request):
        if one.kind in ("*/*", "multipart/*"):
            found.append(MediaType("multipart/related", {"transfer-syntax": "*"} | one.parameters))
        elif one.kind == "multipart/related" and _inner(one, DICOM):
            found.append(one)
        elif one.kind in (DICOM, "application/*"):
            found.append(MediaType(DICOM, {"transfer-syntax": "*"} | one.parameters))
    return found


def accepts(request: Request, *kinds: str) -> bool:
    """Whether one of some media types is accepted, alone or in parts."""
    return any(
        one.kind in ("*/*", "multipart/*", f"{kind.split('/')[0]}/*", kind)
        or (one.kind == "multipart/related" and _inner(one, kind))
        for one in accepted(request)
        for kind in kinds
    )


def _inner(accepted: MediaType, kind: str) -> bool:
    """Whether the parts of an accepted multipart body may be of a kind."""
    inner = accepted.parameters.get("type", kind).lower()
    return inner in (kind, "application/*", "*/*")


def not_acceptable(kind: str, why: str = "") -> JSONResponse:
    """The answer 406, which says what there is, and why there is no more."""
    message = why or f"This can be given as {kind}."
    words = {"code": "service-not-acceptable", "message": message}
    return JSONResponse(words, status_code=406)
