"""The door for DICOM nodes, as an SCU sees it."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pydicom
import pytest
from pydicom.pixels import get_decoder
from pydicom.uid import UID, AllTransferSyntaxes, DeflatedExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification
from small_service import open_tiny_service

from medseg.errors import CannotWrite
from medseg.service.database import conflicts
from medseg.service.dimse import CONFLICT, SYNTAXES, Door
from medseg.service.held import NOT_UNDERSTOOD
from medseg.service.loops import submit_due
from medseg.service.service import Service
from medseg.service.settings import Dimse

Write = Callable[..., list[Path]]


@contextmanager
def door_of(service: Service, **settings: Any) -> Iterator[Door]:
    chosen = Dimse.model_validate({"port": 0, "settle_seconds": 0.05, **settings})
    door = Door(service, chosen)
    try:
        yield door
    finally:
        door.close()


@contextmanager
def call(
    door: Door, dataset: Any = None, *, called: str = "MEDSEG", calling: str = "SCANNER"
) -> Iterator[Association]:
    entity = AE(calling)
    entity.add_requested_context(Verification)
    if dataset is not None:
        entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", door.port, ae_title=called)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def until(is_so: Callable[[], object]) -> None:
    end = monotonic() + 20
    while not is_so():
        assert monotonic() < end
        sleep(0.01)


def test_an_echo_is_answered(service: Service) -> None:
    with door_of(service) as door, call(door) as association:
        assert association.send_c_echo().Status == 0x0000


def test_a_series_that_is_pushed_becomes_one_job_when_its_sender_has_gone(
    service: Service, write_study: Write
) -> None:
    datasets = [pydicom.dcmread(file) for file in write_study()]
    with door_of(service) as door:
        with call(door, datasets[0]) as association:
            assert [association.send_c_store(one).Status for one in datasets] == [0] * 4
            sleep(0.1)  # longer than a series rests
            assert submit_due(service) == 0
        until(lambda: submit_due(service) == 1)
        with call(door, datasets[0]) as association:
            assert [association.send_c_store(one).Status for one in datasets] == [0] * 4
        assert len(service.settling) == 0
    (job,) = service.jobs.newest()
    assert (job["rule"], job["sender"]) == ("default", "ae:SCANNER")
    assert len(service.held.instances_of(series_uid=job["series_uid"])) == 4
    assert list(service.held.incoming.iterdir()) == []
    notes = service.audit.of("study", str(datasets[0].StudyInstanceUID))
    assert [(one["action"], one["actor"], one["origin"]) for one in notes] == [
        ("sent", "ae:SCANNER", "127.0.0.1")
    ]


@pytest.mark.parametrize("ending", ["release", "abort", "refusal"])
def test_a_series_that_did_not_come_whole_waits_for_its_sender_to_call_again(
    tmp_path: Path, bundle_folder: Path, write_study: Write, ending: str
) -> None:
    service = open_tiny_service(tmp_path / "held", bundle_folder, incomplete_seconds=600)
    first, broken = (pydicom.dcmread(file) for file in write_study()[:2])
    del broken.StudyInstanceUID
    with door_of(service) as door:
        with call(door, first) as association:
            assert association.send_c_store(first).Status == 0x0000
            if ending == "refusal":
                assert association.send_c_store(broken).Status == NOT_UNDERSTOOD
            if ending == "abort":
                association.abort()
        until(lambda: door.callers() == 0)
        sleep(0.2)
        made = submit_due(service)
        sleep(0.1)
        made += submit_due(service)
        assert made == (1 if ending == "release" else 0)
        assert len(service.settling) == (0 if ending == "release" else 1)
    service.close()


def test_the_same_instance_by_another_door_is_the_same(
    service: Service, write_study: Write
) -> None:
    file = write_study()[0]
    place = service.held.incoming / "x"
    place.write_bytes(file.read_bytes())
    assert service.held.put(place, "web").outcome == "stored"
    dataset = pydicom.dcmread(file)
    with door_of(service) as door, call(door, dataset) as association:
        assert association.send_c_store(dataset).Status == 0x0000
        dataset.PatientName = "Somebody^Else"
        assert association.send_c_store(dataset).Status == CONFLICT
    with service.database.reading() as connection:
        assert connection.execute(conflicts.select()).one().kind == "bytes"


def test_what_is_not_what_was_announced_is_refused(service: Service, write_study: Write) -> None:
    dataset = pydicom.dcmread(write_study()[0])
    broken = pydicom.dcmread(write_study()[1])
    del broken.StudyInstanceUID
    with door_of(service) as door, call(door, dataset) as association:
        other = pydicom.dcmread(write_study()[2])
        message = _announced_as(other, str(dataset.SOPInstanceUID))
        assert association.send_c_store(message).Status == 0xA900
        assert association.send_c_store(broken).Status == NOT_UNDERSTOOD
    assert service.held.instances_of() == []


def _announced_as(dataset: Any, uid: str) -> Any:
    """A data set whose UID the request does not tell: pynetdicom reads it while it encodes."""

    class Lying(pydicom.Dataset):
        def __getattribute__(self, name: str) -> Any:
            return uid if name == "SOPInstanceUID" else super().__getattribute__(name)

    lying = Lying(dataset)
    lying.file_meta = dataset.file_meta
    return lying


def test_without_room_a_sender_is_told_to_try_later(
    tmp_path: Path, bundle_folder: Path, write_study: Write
) -> None:
    service = open_tiny_service(tmp_path / "held", bundle_folder, retention={"quota_bytes": 1024})
    dataset = pydicom.dcmread(write_study()[0])
    dataset.PixelData = bytes(2000)
    with door_of(service) as door, call(door, dataset) as association:
        assert association.send_c_store(dataset).Status == 0xA700
    service.close()


def test_a_sender_without_end_is_cut_off(
    tmp_path: Path, bundle_folder: Path, write_study: Write
) -> None:
    service = open_tiny_service(tmp_path / "held", bundle_folder, limits={"upload_bytes": 100_000})
    dataset = pydicom.dcmread(write_study()[0])
    dataset.PixelData = bytes(1_000_000)
    with door_of(service) as door, call(door, dataset) as association:
        answer = association.send_c_store(dataset)
        assert "Status" not in answer
        until(lambda: not association.is_established)
        with call(door) as other:
            assert other.send_c_echo().Status == 0x0000
    assert service.held.instances_of() == []
    service.close()


def test_a_deflated_data_set_is_taken(service: Service, write_study: Write) -> None:
    dataset = pydicom.dcmread(write_study()[0])
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    with door_of(service) as door, call(door, dataset) as association:
        assert association.send_c_store(dataset).Status == 0x0000
    (row,) = service.held.instances_of()
    assert pydicom.dcmread(service.held.path_of(row)).pixel_array.shape == (5, 6)


LISTED = [{"ae_title": "SCANNER", "address": "127.0.0.1"}, {"ae_title": "ANYWHERE"}]


@pytest.mark.parametrize(
    ("peers", "calling", "called", "is_let_in"),
    [
        ([], "WHOEVER", "MEDSEG", True),
        ([], "WHOEVER", "OTHER", False),
        (LISTED, "SCANNER", "MEDSEG", True),
        (LISTED, "ANYWHERE", "MEDSEG", True),
        (LISTED, "WHOEVER", "MEDSEG", False),
        ([{"ae_title": "SCANNER", "address": "127.0.0.9"}], "SCANNER", "MEDSEG", False),
    ],
)
def test_those_on_the_list_are_let_in_and_others_are_noted(
    service: Service, peers: list[dict[str, str]], calling: str, called: str, is_let_in: bool
) -> None:
    with (
        door_of(service, peers=peers) as door,
        call(door, calling=calling, called=called) as association,
    ):
        assert association.is_established == is_let_in
        assert association.is_rejected != is_let_in
    noted = service.audit.of("door", "dimse")
    assert [(one["action"], one["actor"]) for one in noted] == (
        [] if is_let_in else [("refused", f"ae:{calling}")]
    )


def test_every_transfer_syntax_with_a_decoder_is_taken() -> None:
    known = set()
    for uid in AllTransferSyntaxes:
        try:
            if get_decoder(uid).is_available:
                known.add(str(uid))
        except NotImplementedError:
            continue
    assert set(SYNTAXES) == known
    assert all(UID(one).is_transfer_syntax for one in SYNTAXES)


def test_noise_does_not_end_the_door(service: Service) -> None:
    with door_of(service) as door:
        for noise in (
            b"GET / HTTP/1.1\r\n\r\n",
            bytes(100),
            b"\x01\x00\xff\xff\xff\xff" + bytes(9),
        ):
            with socket.create_connection(("127.0.0.1", door.port)) as connection:
                connection.sendall(noise)
        with call(door) as association:
            assert association.send_c_echo().Status == 0x0000


def test_an_address_that_is_taken_is_told(service: Service) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with (
            pytest.raises(CannotWrite, match="address of its own"),
            door_of(service, port=taken.getsockname()[1]),
        ):
            pass
