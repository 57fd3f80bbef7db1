"""`/jobs`, and what else is told of the service."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from small_service import Finisher, client_of, open_tiny_service, phantom_nifti

from medseg.service.keys import ApiKeys
from medseg.service.service import Service

Write = Callable[..., list[Path]]


@pytest.fixture
def job(service: Service, tmp_path: Path) -> str:
    """A job about a NIfTI file, which waits."""
    file = service.held.incoming / "x"
    file.write_bytes(phantom_nifti(tmp_path / "x.nii.gz").read_bytes())
    digest = service.held.put_upload(file, "x.nii.gz", "test")
    return str(service.submit_upload(digest, sender="test")["id"])


def test_a_job_that_is_done_has_files(service: Service, finisher: Finisher, job: str) -> None:
    client = client_of(service)
    assert client.get(f"/jobs/{job}/files/mask.nii.gz").status_code == 404
    finisher.finish(job)
    told = client.get(f"/jobs/{job}").json()
    assert (told["state"], told["progress"], told["seconds"]) == ("done", 1.0, {"segment": 0.1})
    assert told["result"]["volumes_ml"] == {"bright": 0.027}
    for name in told["result"]["files"]:
        answer = client.get(f"/jobs/{job}/files/{name}")
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
    assert client.get(f"/jobs/{job}/files/seg.dcm").status_code == 404
    assert client.get(f"/jobs/{job}/files/../../secret").status_code in (404, 422)
    assert client.get(f"/jobs/{job}/slices").json()["axial"]["count"] == 6
    assert client.get(f"/jobs/{job}/slices/axial/3.png").headers["content-type"] == "image/png"


def test_events_tell_of_the_end(service: Service, finisher: Finisher, job: str) -> None:
    finisher.finish(job)
    text = client_of(service).get(f"/jobs/{job}/events").text
    assert text.startswith("event: job\ndata: ")
    assert json.loads(text.splitlines()[1].removeprefix("data: "))["state"] == "done"


def test_cancel_and_retry(service: Service, job: str) -> None:
    client = client_of(service)
    assert client.delete(f"/jobs/{job}").json()["state"] == "cancelled"
    assert client.delete(f"/jobs/{job}").status_code == 409
    again = client.post(f"/jobs/{job}/retry")
    assert (again.status_code, again.json()["state"]) == (202, "queued")
    assert client.post(f"/jobs/{job}/retry").status_code == 409
    assert [one["run"] for one in service.queue.put_jobs] == [0, 1]  # type: ignore[attr-defined]


def test_lists_are_cut_and_sorted_out(service: Service, job: str) -> None:
    client = client_of(service)
    assert len(client.get("/jobs").json()["jobs"]) == 1
    assert client.get("/jobs?state=done").json() == {"jobs": []}
    assert client.get("/jobs?offset=1").json() == {"jobs": []}
    assert client.get("/jobs?state=odd").status_code == 422


@pytest.mark.parametrize("path", ["/jobs/none", "/jobs/none/events", "/jobs/none/files/seg.dcm"])
def test_unknown_jobs(service: Service, path: str) -> None:
    answer = client_of(service).get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "service-not-held")


def test_who_may_only_send_sees_their_own(tmp_path: Path, bundle_folder: Path) -> None:
    service = open_tiny_service(tmp_path / "keyed", bundle_folder, auth={"kind": "keys"})
    keys = ApiKeys(service.database)
    tokens = {
        name: keys.create(name, role)
        for name, role in (("ct1", "send"), ("ct2", "send"), ("viewer", "read"), ("boss", "admin"))
    }
    clients = {
        name: client_of(service, authorization=f"Bearer {token}") for name, token in tokens.items()
    }
    content = phantom_nifti(tmp_path / "x.nii.gz").read_bytes()
    sent = clients["ct1"].post(
        "/segment", content=content, headers={"content-type": "application/gzip"}
    )
    job = sent.json()["jobs"][0]["id"]
    seen = {name: client.get(f"/jobs/{job}").status_code for name, client in clients.items()}
    assert seen == {"ct1": 200, "ct2": 404, "viewer": 200, "boss": 200}
    assert clients["ct2"].get("/jobs").json() == {"jobs": []}
    again = clients["ct2"].post(
        "/segment", content=content, headers={"content-type": "application/gzip"}
    )
    assert again.json()["jobs"][0]["id"] == job, "the same is not segmented twice"
    for _ in range(2):
        assert [one["id"] for one in clients["ct2"].get("/jobs").json()["jobs"]] == [job]
        assert clients["ct2"].get(f"/jobs/{job}").status_code == 200
    assert [one["id"] for one in clients["ct1"].get("/jobs").json()["jobs"]] == [job]
    assert clients["ct1"].delete(f"/jobs/{job}").status_code == 403
    assert clients["viewer"].get("/dicomweb/studies").status_code == 200
    assert clients["ct1"].get("/dicomweb/studies").status_code == 403
    assert clients["boss"].delete(f"/jobs/{job}").status_code == 200
    nobody = client_of(service)
    for path in ("/jobs", "/models", "/rules", "/conflicts", "/dicomweb/studies", "/metrics"):
        answer = nobody.get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert nobody.get("/healthz").status_code == 200
    assert nobody.get("/").status_code == 200


def test_what_the_service_can_do(service: Service) -> None:
    client = client_of(service)
    (model,) = client.get("/models").json()["models"]
    assert (model["dataset"], model["modality"], model["channels"]) == ("phantom", "MR", 1)
    (rule,) = client.get("/rules").json()
    assert (rule["name"], rule["modality"]) == ("default", "MR")
    assert client.get("/destinations").json() == []
    assert client.get("/conflicts").json() == []


def test_a_fault_of_ours_is_told_without_its_words(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Phantom^One")

    monkeypatch.setattr(type(service.jobs), "newest", fail)
    answer = client_of(service).get("/jobs")
    assert answer.status_code == 500
    assert "Phantom" not in answer.text
    assert answer.json()["code"] == "service"


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/segment", 405)])
def test_what_there_is_not_is_told_as_all_problems(
    service: Service, path: str, status: int
) -> None:
    answer = client_of(service).get(path)
    assert answer.status_code == status
    assert answer.json()["code"] == "service-not-held"


def test_what_is_held_is_its_owners_alone(service: Service) -> None:
    assert service.settings.data.stat().st_mode & 0o077 == 0


def test_the_routes_are_described(service: Service) -> None:
    described = client_of(service).get("/openapi.json").json()
    assert {"/segment", "/dicomweb/studies", "/jobs/{job_id}"} <= set(described["paths"])
    assert client_of(service).get("/docs").status_code == 404
