"""Our doors and other programs: DCMTK pushes to us, Orthanc takes what we send.

Skipped, with a reason, where they are not installed (`.ci/peers` installs them).
"""

import ctypes
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pydicom
import pytest
import requests
from dicomweb_client import DICOMwebClient
from small_service import Finisher

from medseg.service.destinations import Told, send
from medseg.service.dimse import Door
from medseg.service.loops import submit_due
from medseg.service.service import Service
from medseg.service.settings import Destination, Dimse, StoreDestination, StowDestination

Write = Callable[..., list[Path]]

_DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_HTTP, _DICOM = 8042, 4242
_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def tool(name: str, package: str) -> str:
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if path is None:
        pytest.skip(f"{name} of {package} is not installed")
    return path


@pytest.fixture
def door(service: Service) -> Iterator[Door]:
    settings = Dimse.model_validate(
        {"port": 0, "settle_seconds": 0.05, "peers": [{"ae_title": "SCANNER"}]}
    )
    opened = Door(service, settings)
    yield opened
    opened.close()


def test_echoscu_is_answered_and_strangers_are_not(door: Door) -> None:
    echo = tool("echoscu", "dcmtk")
    for title, code in (("SCANNER", 0), ("STRANGER", 1)):
        words = [echo, "-aet", title, "-aec", "MEDSEG", "127.0.0.1", str(door.port)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode != 0) == bool(code), done.stderr


@pytest.mark.parametrize("program", ["storescu", "dcmsend"])
def test_dcmtk_pushes_a_study_and_it_becomes_a_job(
    service: Service, door: Door, write_study: Write, program: str
) -> None:
    files = write_study()
    words = {
        "storescu": ["-R", "+sd", "-aet", "SCANNER", "-aec", "MEDSEG"],
        "dcmsend": ["+sd", "-aet", "SCANNER", "-aec", "MEDSEG"],
    }[program]
    command = [tool(program, "dcmtk"), *words, "127.0.0.1", str(door.port), str(files[0].parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    end = monotonic() + 30
    while submit_due(service) == 0:
        assert monotonic() < end
        sleep(0.01)
    (job,) = service.jobs.newest()
    rows = service.held.instances_of(series_uid=job["series_uid"])
    theirs = {str(pydicom.dcmread(file).SOPInstanceUID): file for file in files}
    assert {row["sop_uid"] for row in rows} == set(theirs)
    for row in rows:
        held = pydicom.dcmread(service.held.path_of(row))
        sent = pydicom.dcmread(theirs[row["sop_uid"]])
        assert np.array_equal(held.pixel_array, sent.pixel_array)


class Orthanc:
    """An Orthanc in a network of its own: it listens on all addresses that it finds.

    Args:
        folder: For its files.
    """

    def __init__(self, folder: Path) -> None:
        settings = {
            "Name": "peer", "StorageDirectory": str(folder / "storage"), "DicomAet": "ORTHANC",
            "IndexDirectory": str(folder / "storage"), "HttpPort": _HTTP, "DicomPort": _DICOM,
            "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
            "Plugins": [str(_DICOMWEB)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self._process = subprocess.Popen(
            ["unshare", "-n", tool("Orthanc", "orthanc"), str(folder / "orthanc.json")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._within = ThreadPoolExecutor(1, initializer=self._enter)

    def _enter(self) -> None:
        """Move this thread into its network, and switch the loopback on there."""
        place, ours = Path(f"/proc/{self._process.pid}/ns/net"), Path("/proc/self/ns/net")
        end = monotonic() + 20
        while place.readlink() == ours.readlink():
            assert monotonic() < end
            sleep(0.01)
        with place.open() as network:
            assert ctypes.CDLL(None, use_errno=True).setns(network.fileno(), _CLONE_NEWNET) == 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            asked = struct.pack("16sh14x", b"lo", 0)
            flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, asked))[1]
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))

    def within(self, work: Callable[..., Any], *given: Any) -> Any:
        """Do something in its network."""
        return self._within.submit(work, *given).result(timeout=120)

    def wait(self) -> None:
        end = monotonic() + 60
        while True:
            try:
                self.within(requests.get, f"http://127.0.0.1:{_HTTP}/system").raise_for_status()
                return
            except requests.RequestException:
                assert monotonic() < end
                sleep(0.1)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=60)
        self._within.shutdown()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    tool("Orthanc", "orthanc")
    if not _DICOMWEB.is_file():
        pytest.skip("orthanc-dicomweb is not installed")
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("a network of its own is not allowed here")
    peer = Orthanc(tmp_path_factory.mktemp("orthanc"))
    try:
        peer.wait()
        yield peer
    finally:
        peer.close()


@pytest.fixture
def result(service: Service, finisher: Finisher, write_study: Write) -> list[Path]:
    """A segmentation and its measurements."""
    files = write_study()
    for file in files:
        place = service.held.incoming / file.name
        shutil.copy(file, place)
        stored = service.held.put(place, "test")
    job = service.submit_series(stored.series_uid, sender="test")
    finisher.finish(job["id"])
    (seg,) = (service.settings.data / "results").rglob("seg.dcm")
    return [seg]


@pytest.mark.parametrize(
    "destination",
    [
        StowDestination(name="pacs", url=f"http://127.0.0.1:{_HTTP}/dicom-web"),
        StoreDestination(name="pacs", host="127.0.0.1", port=_DICOM, ae_title="ORTHANC"),
    ],
    ids=["stow", "c-store"],
)
def test_orthanc_takes_a_segmentation_and_gives_it_back(
    orthanc: Orthanc, result: list[Path], destination: Destination
) -> None:
    sent = pydicom.dcmread(result[0])
    uid = str(sent.SOPInstanceUID)
    assert orthanc.within(send, destination, result) == Told(frozenset([uid]))
    assert orthanc.within(send, destination, result).accepted == {uid}
    client = DICOMwebClient(f"http://127.0.0.1:{_HTTP}/dicom-web")
    again = orthanc.within(
        client.retrieve_instance, str(sent.StudyInstanceUID), str(sent.SeriesInstanceUID), uid
    )
    assert again.pixel_array.any()
    assert np.array_equal(again.pixel_array, sent.pixel_array)
    assert again.SegmentSequence == sent.SegmentSequence
    assert again.PerFrameFunctionalGroupsSequence == sent.PerFrameFunctionalGroupsSequence


def test_orthanc_says_what_it_does_not_take(
    orthanc: Orthanc, result: list[Path], tmp_path: Path
) -> None:
    """It answers "bad request" to a batch of which it kept one: that one counts as accepted."""
    good = pydicom.dcmread(result[0])
    bad = pydicom.dcmread(result[0])
    bad.SOPInstanceUID = bad.file_meta.MediaStorageSOPInstanceUID = "2.25.99"
    del bad.StudyInstanceUID
    bad.save_as(tmp_path / "bad.dcm")
    stow = StowDestination(name="pacs", url=f"http://127.0.0.1:{_HTTP}/dicom-web")
    told = orthanc.within(send, stow, [result[0], tmp_path / "bad.dcm"])
    assert str(good.SOPInstanceUID) in told.accepted
    assert set(told.refused) <= {"2.25.99"}
