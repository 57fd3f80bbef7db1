"""STOW-RS."""

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from small_service import client_of, open_tiny_service

from medseg.service.service import Service

Write = Callable[..., list[Path]]
RELATED = 'multipart/related; type="application/dicom"; boundary=xx'
REFERENCED, FAILED, OTHER, URL = "00081199", "00081198", "0008119A", "00081190"


def body_of(files: list[Path] | list[bytes], kind: str = "application/dicom") -> bytes:
    body = b""
    for file in files:
        content = file if isinstance(file, bytes) else file.read_bytes()
        body += b"--xx\r\nContent-Type: " + kind.encode() + b"\r\n\r\n" + content + b"\r\n"
    return body + b"--xx--\r\n"


def send(
    service: Service, files: list[Path] | list[bytes], path: str = "/dicomweb/studies"
) -> "tuple[int, dict]":  # type: ignore[type-arg]
    answer = client_of(service).post(
        path, content=body_of(files), headers={"content-type": RELATED}
    )
    return answer.status_code, answer.json()


def test_all_are_stored(service: Service, write_study: Write) -> None:
    files = write_study()
    status, answer = send(service, files)
    study = str(pydicom.dcmread(files[0]).StudyInstanceUID)
    assert status == 200
    assert answer[URL]["Value"] == [f"http://127.0.0.1/dicomweb/studies/{study}"]
    assert len(answer[REFERENCED]["Value"]) == len(files)
    assert len(service.held.instances_of(study_uid=study)) == len(files)
    assert list(service.held.incoming.iterdir()) == []


def test_the_same_again_changes_nothing(service: Service, write_study: Write) -> None:
    files = write_study()
    send(service, files)
    assert send(service, files)[0] == 200
    assert len(service.held.instances_of()) == len(files)


def test_other_bytes_under_one_identifier_are_a_conflict(
    service: Service, write_study: Write
) -> None:
    files = write_study()
    send(service, files)
    dataset = pydicom.dcmread(files[0])
    dataset.InstanceNumber = 77
    dataset.save_as(files[0])
    status, answer = send(service, files[:1])
    assert status == 409
    assert answer[FAILED]["Value"][0]["00081197"]["Value"] == [0x0111]
    assert client_of(service).get("/conflicts").json()[0]["kind"] == "bytes"


def test_junk_among_good_ones_is_told_apart(service: Service, write_study: Write) -> None:
    files = write_study()
    status, answer = send(service, [files[0].read_bytes(), b"junk"])
    assert status == 202
    assert len(answer[REFERENCED]["Value"]) == 1
    assert answer[OTHER]["Value"][0]["00081197"]["Value"] == [0xC000]


def test_a_truncated_file_is_refused(service: Service, write_study: Write) -> None:
    content = write_study()[0].read_bytes()
    assert send(service, [content[:300]])[0] == 409
    assert service.held.instances_of() == []


def test_another_study_than_said(service: Service, write_study: Write) -> None:
    status, answer = send(service, write_study(), "/dicomweb/studies/1.2.3")
    assert status == 409
    assert answer[FAILED]["Value"][0]["00081197"]["Value"] == [0xA900]


@pytest.mark.parametrize(
    ("kind", "content", "status"),
    [
        ("application/json", b"{}", 415),
        ('multipart/related; type="application/dicom+json"; boundary=xx', b"--xx--", 415),
        ('multipart/related; type="application/dicom"', b"--xx--", 400),
        (RELATED, b"nothing of the kind", 400),
        (RELATED, b"--xx\r\n\r\nabc", 400),
        (RELATED, b"--xx--\r\n", 409),
        ("", b"", 415),
    ],
)
def test_bodies_that_are_no_study(service: Service, kind: str, content: bytes, status: int) -> None:
    answer = client_of(service).post(
        "/dicomweb/studies", content=content, headers={"content-type": kind}
    )
    assert answer.status_code == status
    assert list(service.held.incoming.iterdir()) == []


def test_one_file_alone(service: Service, write_study: Write) -> None:
    answer = client_of(service).post(
        "/dicomweb/studies",
        content=write_study()[0].read_bytes(),
        headers={"content-type": "application/dicom"},
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({"limits": {"upload_bytes": 1024}}, 413),
        ({"limits": {"files_per_study": 2}}, 413),
        ({"limits": {"pixels": 10}}, 409),
        ({"retention": {"quota_bytes": 1024}}, 507),
    ],
)
def test_limits(
    tmp_path: Path,
    bundle_folder: Path,
    write_study: Write,
    settings: dict[str, dict[str, int]],
    status: int,
) -> None:
    service = open_tiny_service(tmp_path / "small", bundle_folder, **settings)
    assert send(service, write_study())[0] == status
    assert service.held.instances_of() == []
    assert list(service.held.incoming.iterdir()) == []


def test_a_series_is_due_when_nothing_of_it_came_for_a_while(
    service: Service, write_study: Write
) -> None:
    send(service, write_study())
    assert len(service.settling) == 1


def test_a_series_of_which_something_was_refused_waits_for_the_rest(
    tmp_path: Path, bundle_folder: Path, write_study: Write
) -> None:
    service = open_tiny_service(
        tmp_path / "held", bundle_folder, settle_seconds=0, incomplete_seconds=60
    )
    files = write_study()
    assert send(service, [files[0].read_bytes(), b"junk"])[0] == 202
    assert service.settling.due() == []
    assert send(service, files)[0] == 200
    assert len(service.settling.due()) == 1
    assert send(service, files)[0] == 200
    assert service.settling.due() == []
