"""`POST /segment`."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from small_service import Finisher, client_of, open_tiny_service, phantom_nifti

from medseg.service.service import Service

Write = Callable[..., list[Path]]


def as_form(files: list[Path]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (file.name, file.read_bytes())) for file in files]


def test_a_series_becomes_one_job(service: Service, write_study: Write) -> None:
    client = client_of(service)
    answer = client.post("/segment", files=as_form(write_study()))
    assert answer.status_code == 202
    (job,) = answer.json()["jobs"]
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    assert (job["state"], job["rule"], job["priority"]) == ("queued", "by hand", 100)
    assert client.get(f"/jobs/{job['id']}").json() == job


def test_sent_twice_is_one_job(service: Service, write_study: Write) -> None:
    client, files = client_of(service), write_study()
    first = client.post("/segment", files=as_form(files)).json()
    assert client.post("/segment", files=as_form(files)).json() == first
    assert len(service.jobs.newest()) == 1


def test_more_than_may_wait_are_told_to_come_again(
    tmp_path: Path, bundle_folder: Path, write_study: Write
) -> None:
    service = open_tiny_service(tmp_path / "busy", bundle_folder, limits={"queued_jobs": 1})
    client = client_of(service)
    answers = [
        client.post("/segment", files=as_form(write_study(name, seed=n)))
        for n, name in enumerate(("a", "b"))
    ]
    assert [one.status_code for one in answers] == [202, 503]
    assert answers[1].json()["code"] == "service-busy"
    assert answers[1].headers["retry-after"] == "30"
    service.close()


def test_other_wishes_are_another_job(service: Service, write_study: Write) -> None:
    client, files = client_of(service), write_study()
    client.post("/segment", files=as_form(files))
    client.post("/segment?tta=true", files=as_form(files))
    assert len({job["key"] for job in service.jobs.newest()}) == 2


def test_a_zip_of_two_series(service: Service, write_study: Write, tmp_path: Path) -> None:
    packed = tmp_path / "study.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("a", "b"):
            for file in write_study(name, seed=ord(name)):
                archive.write(file, f"../../{name}/{file.name}")
        archive.writestr("readme.txt", "hello")
    answer = client_of(service).post(
        "/segment", content=packed.read_bytes(), headers={"content-type": "application/zip"}
    )
    assert answer.status_code == 202
    assert len(answer.json()["jobs"]) == 2
    assert list(service.held.incoming.iterdir()) == []


def test_waiting_gives_the_segmentation_itself(
    service: Service, finisher: Finisher, write_study: Write, tmp_path: Path
) -> None:
    finisher.at_once()
    files = write_study()
    answer = client_of(service).post("/segment?wait=true", files=as_form(files))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom")
    (tmp_path / "seg.dcm").write_bytes(answer.content)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert seg.Modality == "SEG"
    assert seg.StudyInstanceUID == pydicom.dcmread(files[0]).StudyInstanceUID


def test_waiting_for_an_image_that_is_no_dicom(
    service: Service, finisher: Finisher, tmp_path: Path
) -> None:
    finisher.at_once()
    content = phantom_nifti(tmp_path / "x.nii.gz").read_bytes()
    answer = client_of(service).post(
        "/segment?wait=true", content=content, headers={"content-type": "application/gzip"}
    )
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/gzip")


def test_waiting_ends(service: Service, write_study: Write) -> None:
    answer = client_of(service).post(
        "/segment?wait=true&wait_seconds=0.1", files=as_form(write_study())
    )
    assert answer.status_code == 202
    assert answer.json()["jobs"][0]["state"] == "queued"


def test_waiting_for_what_cannot_be_segmented(service: Service, write_study: Write) -> None:
    from medseg.errors import MissingSlice

    def fail(job: dict[str, str]) -> None:
        service.jobs.fail(job["id"], MissingSlice("Slices follow each other."))

    service.queue.put = fail  # type: ignore[method-assign, assignment]
    answer = client_of(service).post("/segment?wait=true", files=as_form(write_study()))
    assert answer.status_code == 422
    assert answer.json() == {"code": "dicom-gap", "message": "Slices follow each other."} or (
        answer.json()["message"] == "Slices follow each other."
    )


@pytest.mark.parametrize(
    ("query", "content", "kind", "status", "code"),
    [
        ("?model=other", b"x", "application/dicom", 404, "service-not-held"),
        ("?destination=nowhere", b"x", "application/dicom", 400, "service-upload"),
        ("?priority=0", b"x", "application/dicom", 422, "service-upload"),
        ("", b"x", "text/plain", 415, "service-upload"),
        ("", b"junk", "application/dicom", 400, "service-upload"),
        ("", b"PK\x03\x04junk", "application/zip", 400, "file-unreadable"),
        ("", b"", "application/zip", 400, "service-upload"),
    ],
)
def test_what_is_refused(
    service: Service, query: str, content: bytes, kind: str, status: int, code: str
) -> None:
    answer = client_of(service).post(
        f"/segment{query}", content=content, headers={"content-type": kind}
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert list(service.held.incoming.iterdir()) == []
    assert service.jobs.newest() == []
