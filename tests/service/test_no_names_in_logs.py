"""A whole study goes through the service, and no log line says whose it is."""

import io
import json
import logging
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pydicom
import pytest
from pynetdicom import AE
from pynetdicom.sop_class import MRImageStorage
from small_service import Finisher, client_of

from medseg.service.logs import start_logs
from medseg.service.pseudonyms import Pseudonyms
from medseg.service.service import Service

BENCH = str(Path(__file__).parents[2] / "bench")
if BENCH not in sys.path:
    sys.path.append(BENCH)

from served import serving  # noqa: E402

NAME, PATIENT_ID = "Qwertzuiop^Yxcvbnm", "PID-77-4711"
UID = re.compile(r"\d+(\.\d+){5,}")
RELATED = 'multipart/related; type="application/dicom"; boundary=limit'


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What the logs say, while everything is logged that can be."""
    target, root = io.StringIO(), logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    hooks = sys.excepthook, sys.unraisablehook
    start_logs(Pseudonyms.passing(), stream=target)
    root.setLevel(logging.DEBUG)
    yield target
    root.handlers[:], logging.raiseExceptions = before[0], before[2]
    root.setLevel(before[1])
    logging.captureWarnings(False)
    sys.excepthook, sys.unraisablehook = hooks


def body_of(files: list[Path]) -> bytes:
    parts = [
        b"--limit\r\nContent-Type: application/dicom\r\n\r\n" + file.read_bytes() + b"\r\n"
        for file in files
    ]
    return b"".join(parts) + b"--limit--\r\n"


def nothing_is_told(text: str, files: list[Path]) -> None:
    header = pydicom.dcmread(files[0], stop_before_pixels=True)
    assert str(header.PatientName) == NAME
    for word in (*NAME.split("^"), PATIENT_ID, header.StudyInstanceUID, header.SeriesInstanceUID,
                 header.SOPInstanceUID):  # fmt: skip
        assert str(word).lower() not in text.lower()
    assert UID.search(text) is None, UID.search(text)
    for line in text.splitlines():
        json.loads(line)


def ask_for_everything(client: httpx.Client, files: list[Path]) -> None:
    """Send a study, look at it by all routes, and do some things wrong."""
    header = pydicom.dcmread(files[0], stop_before_pixels=True)
    study, series = header.StudyInstanceUID, header.SeriesInstanceUID
    related = {"Content-Type": RELATED}
    assert client.post("/dicomweb/studies", content=body_of(files), headers=related).is_success
    broken = body_of(files).replace(b"DICM", b"DUCM")
    client.post(f"/dicomweb/studies/{study}.1", content=broken, headers=related)
    client.post("/segment", content=files[0].read_bytes()[:900])
    client.post("/segment", content=files[0].read_bytes()[:900],
                headers={"Content-Type": "application/dicom"})  # fmt: skip
    for path in (f"studies?PatientName={NAME}", f"studies/{study}", f"studies/{study}/metadata",
                 f"studies/{study}/series/{series}", f"series?PatientID={PATIENT_ID}",
                 f"studies/{NAME}", f"instances?{NAME}=1"):  # fmt: skip
        client.get(f"/dicomweb/{path}")
    client.get(f"/jobs/{NAME}/files/{PATIENT_ID}")


def test_requests_name_nobody(
    service: Service,
    finisher: Finisher,
    write_study: Callable[..., list[Path]],
    written: io.StringIO,
) -> None:
    finisher.at_once()
    files = write_study(patient_name=NAME, patient_id=PATIENT_ID)
    client = client_of(service)
    ask_for_everything(client, files)
    answer = client.post(
        "/segment?wait=true", files=[("files", (NAME, file.read_bytes())) for file in files]
    )
    assert answer.status_code == 200, written.getvalue()[-1500:]
    logging.getLogger("pydicom").warning("Invalid value for %s: %s", "PN", NAME)
    text = written.getvalue()
    assert text.count('"http.request"') > 10
    assert '"message.withheld"' in text
    nothing_is_told(text, files)


@pytest.mark.slow
def test_the_service_its_workers_and_its_doors_name_nobody(
    write_study: Callable[..., list[Path]], tmp_path: Path
) -> None:
    """All processes, as they run: HTTP, C-STORE, worker, and the child that segments."""
    files = write_study(patient_name=NAME, patient_id=PATIENT_ID)
    port = free_port()
    with serving(tmp_path / "run", options=("--dimse-port", str(port))) as served:
        with served.client() as client:
            push(write_study("pushed", seed=1, patient_name=NAME, patient_id=PATIENT_ID), port)
            ask_for_everything(client, files)
            until = time.monotonic() + 120
            while len(ended := ended_jobs(client)) < 2:
                assert time.monotonic() < until, client.get("/jobs").text
                time.sleep(0.2)
        text = served.log.read_text()
    assert {job["state"] for job in ended} <= {"done", "failed"}
    assert text.count('"series.routed"') == 2
    nothing_is_told(text, files)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def ended_jobs(client: httpx.Client) -> list[dict[str, object]]:
    jobs = client.get("/jobs").json()["jobs"]
    return [job for job in jobs if job["state"] not in ("queued", "running")]


def push(files: list[Path], port: int) -> None:
    """Send files by C-STORE, and a title that is not called so."""
    entity = AE(ae_title=PATIENT_ID)
    entity.add_requested_context(MRImageStorage)
    entity.associate("127.0.0.1", port, ae_title="NOBODY")
    association = entity.associate("127.0.0.1", port, ae_title="MEDSEG")
    assert association.is_established
    for file in files:
        assert association.send_c_store(file).Status == 0
    association.release()
