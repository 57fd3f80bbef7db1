"""The header Accept."""

import pytest
from starlette.requests import Request

from medseg.service.accepting import accepted, accepts, dicom_accepted, not_acceptable


def asking(*accept: str) -> Request:
    headers = [(b"accept", one.encode()) for one in accept]
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    ("accept", "kinds"),
    [
        ((), ["*/*"]),
        (("",), ["*/*"]),
        (("a/b, c/d;x=y",), ["a/b", "c/d"]),
        (("a/b", "c/d"), ["a/b", "c/d"]),
        (('multipart/related; type="a,b", c/d',), ["multipart/related", "c/d"]),
        (("a/b;q=0, c/d;q=0.5, e/f;q=x",), ["c/d", "e/f"]),
    ],
)
def test_members(accept: tuple[str, ...], kinds: list[str]) -> None:
    assert [one.kind for one in accepted(asking(*accept))] == kinds


@pytest.mark.parametrize(
    ("accept", "ways"),
    [
        ("*/*", [("multipart/related", "*")]),
        ("application/dicom", [("application/dicom", "*")]),
        (
            "application/dicom; transfer-syntax=1.2, multipart/related; type=application/dicom",
            [("application/dicom", "1.2"), ("multipart/related", None)],
        ),
        ('multipart/related; type="image/jpeg", text/html', []),
    ],
)
def test_instances(accept: str, ways: list[tuple[str, str | None]]) -> None:
    found = dicom_accepted(asking(accept))
    assert [(one.kind, one.parameters.get("transfer-syntax")) for one in found] == ways


@pytest.mark.parametrize(
    ("accept", "is_accepted"),
    [
        ("application/dicom+json", True),
        ("application/*", True),
        ("text/html, */*", True),
        ('multipart/related; type="application/dicom+xml"', False),
        ("application/dicom+json;q=0", False),
        ("image/*", False),
    ],
)
def test_one_kind(accept: str, is_accepted: bool) -> None:
    assert accepts(asking(accept), "application/dicom+json") == is_accepted


def test_a_refusal_says_what_there_is() -> None:
    answer = not_acceptable("text/plain")
    assert (answer.status_code, b"given as text/plain" in answer.body) == (406, True)
