"""What is held, and what is read before it is."""

import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian
from small_service import Finisher, open_tiny_service, phantom_nifti

from medseg.errors import BadUpload, NotHeld, TooLarge
from medseg.service.headers import read_header
from medseg.service.held import Held, Stored, instance_path
from medseg.service.service import Service
from medseg.service.settings import Limits

Write = Callable[..., list[Path]]


def put(held: Held, file: Path, study_uid: str | None = None) -> Stored:
    place = held.incoming / file.name
    place.write_bytes(file.read_bytes())
    stored = held.put(place, "test", study_uid=study_uid)
    assert not place.exists()
    return stored


def test_order_of_arrival_does_not_change_a_series(
    tmp_path: Path, bundle_folder: Path, write_study: Write
) -> None:
    files = write_study()
    digests = []
    for name, order in (("a", files), ("b", files[::-1])):
        held = open_tiny_service(tmp_path / name, bundle_folder).held
        series = {put(held, file).series_uid for file in order}
        digests.append(held.series_digest(series.pop()))
    assert digests[0] == digests[1]


def test_a_slice_after_its_series_was_segmented_is_late(
    service: Service, finisher: Finisher, write_study: Write
) -> None:
    files = write_study()
    uid = {put(service.held, file).series_uid for file in files[:3]}.pop()
    job = service.submit_series(uid, sender="test")
    finisher.finish(job["id"])
    assert put(service.held, files[3]).outcome == "late"
    again = service.submit_series(uid, sender="test")
    assert again["id"] != job["id"]
    assert again["key"] != job["key"]


def test_names_on_the_disk_follow_from_hashes(service: Service, write_study: Write) -> None:
    stored = put(service.held, write_study()[0])
    path = service.settings.data / instance_path(stored.sop_uid)
    assert path.is_file()
    assert stored.sop_uid not in str(path)
    assert instance_path("../../etc/passwd").count("/") == 2


def test_a_study_and_its_series_are_known(service: Service, write_study: Write) -> None:
    stored = put(service.held, write_study()[0])
    assert service.held.study_of(stored.series_uid) == stored.study_uid
    assert service.held.study_of("1.2") is None
    assert service.held.study_of(None) is None
    with pytest.raises(NotHeld, match="nothing is held"):
        service.held.series_digest("1.2")


def test_uploads_are_held_once(service: Service, tmp_path: Path) -> None:
    digests = set()
    for name in ("..\\..\\a.nii.gz", "/b/c.nii.gz"):
        place = service.held.incoming / "x"
        place.write_bytes(phantom_nifti(tmp_path / "p.nii.gz").read_bytes())
        digests.add(service.held.put_upload(place, name, "test"))
    (digest,) = digests
    assert service.held.upload_of(digest).name == f"{digest}.nii.gz"
    with pytest.raises(NotHeld, match="digest of no upload"):
        service.held.upload_of("0" * 64)


def test_a_full_disk_or_quota_is_told(
    service: Service, write_study: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_study()[0]
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    stored = put(service.held, file)
    assert (stored.outcome, stored.failure) == ("refused", 0xA700)
    with pytest.raises(TooLarge, match="within the quota and on the disk"):
        service.held.require_room(11)


def test_a_header_is_read_without_pixels(write_study: Write) -> None:
    file = write_study(series_description="T1")[0]
    header = read_header(file, inflated_bytes=1)
    dataset = pydicom.dcmread(file)
    assert header.sop_uid == dataset.SOPInstanceUID
    assert (header.pixels, header.frames) == (30, 1)
    assert header.attributes["0008103E"]["Value"] == ["T1"]
    assert "7FE00010" not in header.attributes


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", ["", "../../x", "1.2." + "3" * 80, None])
def test_identifiers_that_are_none(write_study: Write, keyword: str, value: str | None) -> None:
    file = write_study()[0]
    dataset = pydicom.dcmread(file)
    if value is None:
        del dataset[keyword]
    else:
        dataset[keyword]._value = value
    dataset.save_as(file, enforce_file_format=False)
    with pytest.raises(BadUpload, match="UIDs of its study, series, instance and class"):
        read_header(file, inflated_bytes=10**6)


@pytest.mark.parametrize("content", [b"", b"junk", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICMx"])
def test_files_that_are_no_dicom(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(BadUpload, match="whole DICOM file"):
        read_header(tmp_path / "x", inflated_bytes=10**6)


def test_a_deflated_bomb_is_not_inflated(write_study: Write) -> None:
    file = write_study()[0]
    dataset = pydicom.dcmread(file)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(file)
    assert read_header(file, inflated_bytes=10**5).pixels == 30
    whole = file.read_bytes()
    start = 144 + int(pydicom.filereader.read_file_meta_info(file)[0x0002, 0x0000].value)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = packer.compress(zlib.decompress(whole[start:], -zlib.MAX_WBITS) + bytes(10**6))
    file.write_bytes(whole[:start] + bomb + packer.flush())
    with pytest.raises(TooLarge, match="more than 100000 bytes"):
        read_header(file, inflated_bytes=10**5)


def test_a_deflated_header_is_that_of_the_plain_file_and_little_of_it_is_kept(
    write_study: Write,
) -> None:
    file = write_study(patient_name="Müller^Jürgen")[0]
    plain = read_header(file, inflated_bytes=10**9)
    dataset = pydicom.dcmread(file)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(file)
    whole = file.read_bytes()
    start = 144 + int(pydicom.filereader.read_file_meta_info(file)[0x0002, 0x0000].value)
    packer = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    long = packer.compress(zlib.decompress(whole[start:], -zlib.MAX_WBITS))
    long += b"".join(packer.compress(bytes(1 << 20)) for _ in range(100))
    file.write_bytes(whole[:start] + long + packer.flush())
    tracemalloc.start()
    try:
        packed = read_header(file, inflated_bytes=10**9)
        most_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert packed == replace(plain, transfer_syntax_uid=str(DeflatedExplicitVRLittleEndian))
    assert "Müller" in str(packed.attributes)
    assert most_bytes < 64 << 20


def test_limits_are_told_by_their_names(service: Service, write_study: Write) -> None:
    held = Held(service.database, service.settings.data, Limits(pixels=29))
    assert put(held, write_study()[0]).message == "more pixels than limits.pixels"
