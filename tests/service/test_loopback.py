"""A service without keys and the web pages of others."""

import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from medseg.service.loopback import LoopbackOnly, refusal

HERE = "127.0.0.1:8080"


@pytest.mark.parametrize("host", [HERE, "localhost", "localhost:80", "[::1]:8080", "127.8.9.1"])
def test_names_of_this_machine_are_answered(host: str) -> None:
    assert refusal("GET", Headers({"host": host})) is None


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "", "[::1",
     "evil@127.0.0.1.x"],
)  # fmt: skip
def test_other_names_are_not_even_to_read(host: str) -> None:
    error = refusal("GET", Headers({"host": host}))
    assert error is not None
    assert "names of this machine only" in str(error)


@pytest.mark.parametrize(
    ("headers", "is_let_in"),
    [
        ({}, True),
        ({"origin": f"http://{HERE}"}, True),
        ({"origin": f"http://{HERE}", "sec-fetch-site": "same-origin"}, True),
        ({"origin": "http://127.0.0.1:3000"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
    ],
)
def test_only_the_own_page_sends_from_a_browser(headers: dict[str, str], is_let_in: bool) -> None:
    for method in ("POST", "DELETE", "PUT"):
        assert (refusal(method, Headers({"host": HERE, **headers})) is None) is is_let_in


def test_the_answer_is_a_problem_with_403() -> None:
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("in"), methods=["POST"])])
    client = TestClient(LoopbackOnly(app), base_url=f"http://{HERE}")
    assert client.post("/").text == "in"
    answer = client.post("/", headers={"origin": "https://evil.example"})
    assert answer.status_code == 403
    assert answer.json()["code"] == "service-not-allowed"
