"""The page's files: what comes with them, and that they ask for nothing from elsewhere."""

import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from medseg.service.page_files import FOLDER, page_routes

OURS = sorted(
    path for path in FOLDER.iterdir()
    if path.suffix in {".html", ".css", ".js"} and not path.name.startswith("niivue")
)  # fmt: skip
MODULES = [path for path in OURS if path.suffix == ".js"]


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    app.include_router(page_routes())
    return TestClient(app)


def test_nothing_but_the_page_itself_may_run_or_be_asked(client: TestClient) -> None:
    for address in ("/", "/page/page.js", "/page/niivue.umd.js"):
        answer = client.get(address)
        assert answer.status_code == 200
        policy = dict(
            part.strip().split(" ", 1)
            for part in answer.headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("address", ["/", "/page/niivue.umd.js"])
def test_a_file_that_is_known_is_not_sent_again(client: TestClient, address: str) -> None:
    first = client.get(address)
    again = client.get(address, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "content-security-policy" in again.headers


@pytest.mark.parametrize(
    "path",
    [
        "/page/none.js",
        "/page/",
        "/page/%2e%2e/app.py",
        "/page/..%2fapp.py",
        "/page/../page_files.py",
    ],
)
def test_only_files_of_the_page_are_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_no_other_host_is_named_and_no_script_is_inline(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"""(src|href|url|from|import)\s*[=(]?\s*["'(]?(https?:)?//""", text)
    if path.suffix == ".html":
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", text)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_each_module_says_what_it_is_for_and_stays_readable(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0].startswith("/* ")
    assert len(lines) <= 300
    assert max(map(len, lines)) <= 130
    for name in re.findall(r'from "\./([\w.]+)"', path.read_text()):
        assert (FOLDER / name).is_file()


def test_scripts_find_every_element_that_they_name() -> None:
    page = (FOLDER / "index.html").read_text()
    ids = set(re.findall(r'\bid="([\w-]+)"', page))
    for path in MODULES:
        named = set(re.findall(r'\bat\("([\w-]+)"\)', path.read_text()))
        assert named <= ids, f"{path.name}: {sorted(named - ids)}"
    for reference in re.findall(r'\b(?:for|aria-labelledby|aria-describedby)="([\w-]+)"', page):
        assert reference in ids


def test_names_are_put_in_as_text_and_never_as_markup() -> None:
    for path in MODULES:
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(",
                             path.read_text()), path.name  # fmt: skip


def test_the_viewer_ships_with_its_licence() -> None:
    licence = (FOLDER / "niivue.LICENSE.txt").read_text()
    assert "NiiVue 0.69.0" in licence
    assert "BSD 2-Clause License" in licence
    assert '"0.69.0"' in (FOLDER / "niivue.umd.js").read_text()
