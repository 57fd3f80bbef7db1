"""What is held is found by QIDO-RS and goes out by WADO-RS, as an independent client sees it."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import uvicorn
from dicomweb_client import DICOMwebClient
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless
from small_service import Finisher, client_of

from medseg.service import qido
from medseg.service.app import create_app
from medseg.service.service import Service

Write = Callable[..., list[Path]]


@pytest.fixture
def address(service: Service) -> Iterator[str]:
    """The application on a port of loopback."""
    server = uvicorn.Server(
        uvicorn.Config(create_app(service), port=0, log_config=None, lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(5)


def held(service: Service, files: list[Path]) -> list[Any]:
    datasets = [pydicom.dcmread(file) for file in files]
    for file in files:
        place = service.held.incoming / file.name
        place.write_bytes(file.read_bytes())
        assert service.held.put(place, "test").outcome == "stored"
    return datasets


def test_an_independent_client_stores_finds_and_retrieves(
    service: Service, address: str, write_study: Write
) -> None:
    datasets = [pydicom.dcmread(file) for file in write_study()]
    first = datasets[0]
    client = DICOMwebClient(f"{address}/dicomweb")
    answer = client.store_instances(datasets)
    assert len(answer.ReferencedSOPSequence) == 4
    assert "FailedSOPSequence" not in answer
    (study,) = client.search_for_studies(search_filters={"PatientID": "P1"})
    assert study["0020000D"]["Value"] == [first.StudyInstanceUID]
    assert study["00201208"]["Value"] == [4]
    (series,) = client.search_for_series(first.StudyInstanceUID)
    assert series["00201209"]["Value"] == [4]
    assert len(client.search_for_instances(first.StudyInstanceUID, limit=3)) == 3
    got = client.retrieve_series(first.StudyInstanceUID, first.SeriesInstanceUID)
    assert {one.SOPInstanceUID for one in got} == {one.SOPInstanceUID for one in datasets}
    one = client.retrieve_instance(
        first.StudyInstanceUID, first.SeriesInstanceUID, first.SOPInstanceUID
    )
    assert one.PixelData == first.PixelData
    (frame,) = client.retrieve_instance_frames(
        first.StudyInstanceUID, first.SeriesInstanceUID, first.SOPInstanceUID, [1]
    )
    assert frame == first.PixelData
    metadata = client.retrieve_study_metadata(first.StudyInstanceUID)
    assert len(metadata) == 4
    assert all("7FE00010" not in one for one in metadata)


def test_a_result_is_found_beside_its_series(
    service: Service, finisher: Finisher, address: str, write_study: Write
) -> None:
    first = held(service, write_study())[0]
    finisher.at_once()
    service.submit_series(first.SeriesInstanceUID, sender="test")
    client = DICOMwebClient(f"{address}/dicomweb")
    (found,) = client.search_for_series(first.StudyInstanceUID, search_filters={"Modality": "SEG"})
    (seg,) = client.retrieve_series(first.StudyInstanceUID, found["0020000E"]["Value"][0])
    assert seg.SegmentSequence[0].SegmentLabel == "bright"
    (frame,) = client.retrieve_instance_frames(
        first.StudyInstanceUID, seg.SeriesInstanceUID, seg.SOPInstanceUID, [1]
    )
    bits = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")
    assert bits[:30].tolist() == seg.pixel_array.reshape(-1, 30)[0].tolist()


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 1),
        ("PatientName=Phantom^One", 1),
        ("PatientName=phantom*", 1),
        ("00100010=Ph?ntom*", 1),
        ("PatientName=Other*", 0),
        ("PatientID=p1", 0),
        ("PatientID=", 1),
        ("StudyDate=20260101-20261231", 1),
        ("StudyDate=20260228-", 1),
        ("StudyDate=-20260227", 0),
        ("StudyDate=20260228", 1),
        ("ModalitiesInStudy=MR", 1),
        ("ModalitiesInStudy=CT", 0),
        ("StudyInstanceUID=1.2,1.3", 0),
        ("offset=1", 0),
        ("limit=0", 0),
        ("fuzzymatching=true&PatientName=Phantom*", 1),
    ],
)
def test_matching(service: Service, write_study: Write, query: str, count: int) -> None:
    files = write_study()
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.StudyDate = "20260228"
        dataset.save_as(file)
    held(service, files)
    answer = client_of(service).get(f"/dicomweb/studies?{query}")
    assert answer.status_code == 200
    assert len(answer.json()) == count
    assert ("warning" in answer.headers) == ("fuzzymatching" in query)


def test_fields_are_left_out_unless_they_are_asked_for(
    service: Service, write_study: Write
) -> None:
    held(service, write_study(series_description="T1 axial"))
    client = client_of(service)
    assert "0008103E" not in client.get("/dicomweb/studies").json()[0]
    asked = client.get("/dicomweb/studies?includefield=SeriesDescription").json()[0]
    assert asked["0008103E"]["Value"] == ["T1 axial"]
    assert "0008103E" in client.get("/dicomweb/series").json()[0]
    assert "00280010" in client.get("/dicomweb/instances").json()[0]


@pytest.mark.parametrize("query", ["limit=x", "offset=-1", "Nonsense=1", "includefield=Nonsense"])
def test_queries_that_make_no_sense(service: Service, query: str, write_study: Write) -> None:
    held(service, write_study())
    answer = client_of(service).get(f"/dicomweb/studies?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "service-upload")


@pytest.mark.parametrize(
    ("accept", "status", "kind"),
    [
        ("*/*", 200, "multipart/related"),
        ('multipart/related; type="application/dicom"', 200, "multipart/related"),
        ('multipart/related; type="application/dicom"; transfer-syntax=*', 200, "multipart/rel"),
        ("application/dicom", 200, "application/dicom"),
        ("image/png", 406, "application/json"),
        (
            'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.90',
            406,
            "application/json",
        ),
    ],
)
def test_what_is_accepted(
    service: Service, write_study: Write, accept: str, status: int, kind: str
) -> None:
    one = held(service, write_study())[0]
    answer = client_of(service).get(_place(one), headers={"accept": accept})
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith(kind)


def test_compressed_ones_go_out_as_they_are_or_decoded(
    service: Service, write_study: Write, tmp_path: Path
) -> None:
    files = write_study()[:1]
    plain = pydicom.dcmread(files[0])
    pixels = plain.pixel_array.copy()
    plain.compress(RLELossless, generate_instance_uid=False)
    plain.save_as(files[0])
    held(service, files)
    client, path = client_of(service), tmp_path / "got.dcm"
    for words, syntax in (("*", RLELossless), (str(ExplicitVRLittleEndian),) * 2):
        accept = f"application/dicom; transfer-syntax={words}"
        path.write_bytes(client.get(_place(plain), headers={"accept": accept}).content)
        got = pydicom.dcmread(path)
        assert got.file_meta.TransferSyntaxUID == syntax
        assert got.SOPInstanceUID == plain.SOPInstanceUID
        assert np.array_equal(got.pixel_array, pixels)


def test_the_first_way_that_is_possible_is_taken(service: Service, write_study: Write) -> None:
    one = held(service, write_study())[0]
    first = "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90"
    accept = f'{first}, multipart/related; type="application/dicom"'
    answer = client_of(service).get(_place(one), headers={"accept": accept})
    assert answer.headers["content-type"].startswith("multipart/related")


def test_what_cannot_be_decoded_goes_out_as_it_is_only(
    service: Service, write_study: Write
) -> None:
    """Pixels that are shorter than they say, and a stream that is no JPEG 2000."""
    files = write_study()[:2]
    for file, syntax in zip(files, (ExplicitVRLittleEndian, JPEG2000Lossless), strict=True):
        dataset = pydicom.dcmread(file)
        dataset.PixelData = dataset.PixelData[:10]
        if syntax == JPEG2000Lossless:
            dataset.PixelData = encapsulate([b"no JPEG 2000"])
            dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(file)
    short, broken = held(service, files)
    client = client_of(service)
    for one in (short, broken):
        assert client.get(f"{_place(one)}/frames/1").status_code == 406
    plain = {"accept": 'multipart/related; type="application/dicom"'}
    assert client.get(_place(broken), headers=plain).status_code == 406
    assert client.get(_place(broken)).status_code == 200
    assert list(service.held.incoming.iterdir()) == []


def test_answers_count_whole_studies(
    service: Service, finisher: Finisher, write_study: Write
) -> None:
    first = held(service, write_study())[0]
    finisher.at_once()
    service.submit_series(first.SeriesInstanceUID, sender="test")
    client, study = client_of(service), first.StudyInstanceUID
    place = f"/dicomweb/studies/{study}/series/{first.SeriesInstanceUID}/instances"
    for answer in client.get(place).json():
        assert answer["00201206"]["Value"] == [2]
        assert answer["00201208"]["Value"] == [5]
        assert answer["00201209"]["Value"] == [4]
        assert answer["00080061"]["Value"] == ["MR", "SEG"]
    for modality, count in (("MR", 1), ("SEG", 1), ("CT", 0)):
        found = client.get(f"/dicomweb/studies?Modality={modality}").json()
        assert len(found) == count
    assert len(client.get(f"/dicomweb/series?StudyInstanceUID={study}").json()) == 2
    whole = client.get("/dicomweb/studies?includefield=all").json()[0]
    assert "00080018" not in whole, "of a study nothing that only one instance has"
    assert "00080018" in client.get("/dicomweb/instances?includefield=all").json()[0]


def test_more_than_one_answer_may_hold(
    service: Service, write_study: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    held(service, write_study())
    monkeypatch.setattr(qido, "_MOST", 3)
    client = client_of(service)
    answer = client.get("/dicomweb/instances")
    assert len(answer.json()) == 3
    assert "There are 1 additional results" in answer.headers["warning"]
    assert "warning" not in client.get("/dicomweb/instances?limit=2").headers
    assert "warning" not in client.get("/dicomweb/instances?offset=3").headers


def test_queries_are_answered_in_json(service: Service) -> None:
    client = client_of(service)
    for accept, status in (("application/json", 200), ("application/dicom+xml", 406)):
        answer = client.get("/dicomweb/studies", headers={"accept": accept})
        assert answer.status_code == status


@pytest.mark.parametrize(
    "path", ["/studies/1.2", "/studies/1.2/metadata", "/studies/1.2/series/1/instances/1/frames/1"]
)
def test_what_is_not_held(service: Service, path: str) -> None:
    answer = client_of(service).get(f"/dicomweb{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "service-not-held")


def test_a_frame_that_is_not_there(service: Service, write_study: Write) -> None:
    one = held(service, write_study())[0]
    assert client_of(service).get(f"{_place(one)}/frames/2").status_code == 404


def test_a_study_is_deleted_with_its_results(
    service: Service, finisher: Finisher, write_study: Write
) -> None:
    first = held(service, write_study())[0]
    finisher.at_once()
    job = service.submit_series(first.SeriesInstanceUID, sender="test")
    client = client_of(service)
    assert client.get(f"/jobs/{job['id']}/files/seg.dcm").status_code == 200
    path = f"/dicomweb/studies/{first.StudyInstanceUID}"
    assert client.delete(path).status_code == 204
    assert client.delete(path).status_code == 404
    assert client.get(f"/jobs/{job['id']}/files/seg.dcm").status_code == 404
    assert list(service.settings.data.rglob("*.dcm")) == []
    (note,) = [x for x in service.audit.newest() if x["action"] == "deleted"]
    assert str(first.StudyInstanceUID) not in note["subject"]


def _place(dataset: Any) -> str:
    return (
        f"/dicomweb/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}"
        f"/instances/{dataset.SOPInstanceUID}"
    )
