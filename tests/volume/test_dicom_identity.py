"""UIDs of what medseg writes."""

from medseg.volume.dicom_identity import uid_for


def test_uids_follow_from_a_name() -> None:
    first = uid_for("key", "series")
    assert first == uid_for("key", "series")
    assert len({first, uid_for("key", "instance"), uid_for("other", "series")}) == 3
    assert first.startswith("2.25.")
    assert len(first) <= 64


def test_without_a_name_each_uid_is_new() -> None:
    assert uid_for("", "series") != uid_for("", "series")
