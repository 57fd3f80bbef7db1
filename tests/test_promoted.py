"""The pointer of a folder of bundles names one beside it, or says what is wrong."""

import pytest

from medseg.bundle_folder import find_bundle
from medseg.errors import UnknownBundle
from medseg.promoted import point_to, resolve_current


def test_any_other_path_is_left_as_it_is(tmp_path):
    assert resolve_current(tmp_path) == tmp_path
    assert resolve_current(tmp_path / "none") == tmp_path / "none"


def test_it_follows_the_pointer_as_it_changes(tmp_path):
    for name in ("a-1", "b-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bundle.json").touch()
    point_to(tmp_path, "a-1")
    assert resolve_current(tmp_path) == tmp_path / "a-1"
    assert find_bundle(tmp_path) == tmp_path / "a-1"
    point_to(tmp_path, "b-2")
    assert find_bundle(tmp_path) == tmp_path / "b-2"


@pytest.mark.parametrize("name", ["", "gone", "..", "../outside", "/etc"])
def test_a_pointer_to_nothing_beside_it_is_refused(tmp_path, name):
    (tmp_path / "current").write_text(name)
    with pytest.raises(UnknownBundle, match="names a bundle beside it"):
        resolve_current(tmp_path)


def test_only_what_is_there_can_be_put_in_use(tmp_path):
    with pytest.raises(UnknownBundle, match="lies among the others"):
        point_to(tmp_path, "gone")
    assert not (tmp_path / "current").exists()
