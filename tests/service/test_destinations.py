"""What destinations say, by HTTP and by C-STORE."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pydicom
import pytest
from pynetdicom import AE, evt

from medseg.errors import Undelivered
from medseg.service.destinations import Told, send
from medseg.service.dicom_json import DICOM_JSON, element
from medseg.service.dimse import Door
from medseg.service.service import Service
from medseg.service.settings import Dimse, StoreDestination, StowDestination

Write = Callable[..., list[Path]]


@dataclass
class Archive:
    """A DICOMweb store that answers what it was told to.

    Attributes:
        status: Of its answers to STOW-RS.
        answer: Their content; None for nothing.
        holds: UIDs that its QIDO-RS finds.
        tokens: What requests had to show.
        posts: How many requests of STOW-RS there were.
    """

    status: int = 200
    answer: dict[str, Any] | None = None
    holds: tuple[str, ...] = ()
    tokens: list[str] = field(default_factory=list)
    posts: int = 0

    def handler(self) -> type[BaseHTTPRequestHandler]:
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                archive.posts += 1
                archive.tokens.append(self.headers.get("Authorization", ""))
                self.rfile.read(int(self.headers["Content-Length"]))
                self._say(archive.status, archive.answer)

            def do_GET(self) -> None:
                found = [uid for uid in archive.holds if uid in self.path]
                self._say(200, [element("SOPInstanceUID", uid) for uid in found])

            def _say(self, status: int, content: Any) -> None:
                body = b"" if content is None else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", DICOM_JSON if body else "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    @contextmanager
    def open(self) -> Iterator[str]:
        with ThreadingHTTPServer(("127.0.0.1", 0), self.handler()) as server:
            thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            yield f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
            server.shutdown()
            thread.join()


@pytest.fixture
def files(write_study: Write) -> list[Path]:
    return write_study()[:2]


def uids_of(files: list[Path]) -> list[str]:
    return [str(pydicom.dcmread(file).SOPInstanceUID) for file in files]


def said(held: list[str], failed: dict[str, int]) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    if held:
        answer |= element(
            "ReferencedSOPSequence", *(element("ReferencedSOPInstanceUID", uid) for uid in held)
        )
    if failed:
        items = (
            {**element("ReferencedSOPInstanceUID", uid), **element("FailureReason", reason)}
            for uid, reason in failed.items()
        )
        answer |= element("FailedSOPSequence", *items)
    return answer


def to_archive(archive: Archive, files: list[Path], **settings: Any) -> Told:
    with archive.open() as url:
        return send(StowDestination(name="pacs", url=url, **settings), files)


def test_all_are_accepted_and_the_token_is_shown(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    archive = Archive(answer=said(uids_of(files), {}))
    told = to_archive(archive, files, token_file=tmp_path / "token")
    assert told == Told(frozenset(uids_of(files)))
    assert archive.tokens == ["Bearer abc"]


def test_some_are_refused_for_ever(files: list[Path]) -> None:
    first, second = uids_of(files)
    told = to_archive(Archive(202, said([first], {second: 0xA900})), files)
    assert (told.accepted, told.refused, told.is_final) == ({first}, {second: 0xA900}, True)


def test_reasons_come_with_errors_too(files: list[Path]) -> None:
    first, second = uids_of(files)
    told = to_archive(Archive(409, said([], {first: 0xC000, second: 0xA700})), files)
    assert (told.refused, told.is_final) == ({first: 0xC000, second: 0xA700}, False)
    assert told.words == "HTTP 409"


@pytest.mark.parametrize("status", [200, 400])
def test_what_an_answer_does_not_speak_of_is_looked_for(files: list[Path], status: int) -> None:
    first, second = uids_of(files)
    archive = Archive(status, said([], {}) or None, holds=(first,))
    told = to_archive(archive, files)
    assert (told.accepted, told.refused, told.is_final) == ({first}, {second: 0}, False)


@pytest.mark.parametrize("status", [401, 413, 500, 503])
def test_an_error_without_a_word_is_asked_once_and_told(files: list[Path], status: int) -> None:
    archive = Archive(status)
    told = to_archive(archive, files)
    assert (archive.posts, told.words, told.is_final) == (1, f"HTTP {status}", False)
    assert told.refused == dict.fromkeys(uids_of(files), 0)


def test_nobody_there_or_no_token(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(Undelivered, match="ConnectionError"):
        send(StowDestination(name="pacs", url="http://127.0.0.1:1"), files)
    with pytest.raises(Undelivered, match="FileNotFoundError"):
        to_archive(Archive(), files, token_file=tmp_path / "none")
    with pytest.raises(Undelivered, match="no association"):
        send(StoreDestination(name="pacs", host="127.0.0.1", port=1, ae_title="PACS"), files)


def test_our_own_door_takes_it_and_what_it_refuses_is_told(
    service: Service, files: list[Path]
) -> None:
    first, second = uids_of(files)
    door = Door(service, Dimse(port=0))
    try:
        node = StoreDestination(name="o", host="127.0.0.1", port=door.port, ae_title="MEDSEG")
        assert send(node, files) == Told(frozenset((first, second)))
        changed = pydicom.dcmread(files[1])
        changed.PatientName = "Other"
        changed.save_as(files[1])
        told = send(node, files)
        assert (told.accepted, told.refused, told.is_final) == ({first}, {second: 0xC111}, True)
    finally:
        door.close()


@pytest.mark.parametrize(
    ("status", "refused", "final"),
    [(0x0000, set(), False), (0xB000, set(), False), (0xA700, {0xA700}, False),
     (0xA900, {0xA900}, True), (0x0124, {0x0124}, False)],
)  # fmt: skip
def test_each_status_counts(files: list[Path], status: int, refused: set[int], final: bool) -> None:
    with node_that(lambda event: status, files) as node:
        told = send(node, files[:1])
    assert (set(told.refused.values()), told.is_final) == (refused, final)


def test_an_association_that_breaks_is_tried_again(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medseg.service.destinations.TIMEOUT_SECONDS", 1.0)

    def hang_up(event: evt.Event) -> int:
        event.assoc.abort(block=False)
        return 0

    with (
        node_that(hang_up, files) as node,
        pytest.raises(Undelivered, match="an association without an answer"),
    ):
        send(node, files)


def test_a_class_that_the_node_does_not_know_is_final(files: list[Path]) -> None:
    other = pydicom.dcmread(files[1])
    other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    with node_that(lambda event: 0, files) as node:
        other.save_as(files[1])
        told = send(node, files)
    assert (list(told.refused.values()), told.is_final) == ([0x0122], True)


@contextmanager
def node_that(answer: Callable[[evt.Event], int], files: list[Path]) -> Iterator[StoreDestination]:
    """A node that knows the class of the first file only."""
    entity = AE("NODE")
    first = pydicom.dcmread(files[0])
    entity.add_supported_context(first.SOPClassUID, first.file_meta.TransferSyntaxUID)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)]
    )
    assert server is not None
    try:
        yield StoreDestination(
            name="n", host="127.0.0.1", port=server.server_address[1], ae_title="NODE"
        )
    finally:
        entity.shutdown()
