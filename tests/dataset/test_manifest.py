"""A manifest names the content of a data set: the same wherever it lies, another for any change."""

import shutil

import numpy as np
import pytest

from medseg.dataset.contents import Contents
from medseg.dataset.description import load_description, save_description
from medseg.dataset.importers import open_dataset
from medseg.dataset.manifest import (
    FILE_NAME,
    known_version,
    parse_manifest,
    save_manifest,
    take_manifest,
    with_version,
)
from medseg.errors import VersionError
from medseg.volume.io import read_label_map, write_label_map


@pytest.fixture
def described(tiny_dataset, tmp_path):
    """A copy that a test may spoil, described."""
    folder = tmp_path / "data"
    shutil.copytree(tiny_dataset, folder)
    save_description(open_dataset(folder), folder)
    return folder


def manifest_of(folder, **options):
    return take_manifest(load_description(folder), Contents(), **options)


def test_it_says_what_each_case_is_like(described):
    description = load_description(described)
    case = description.cases[0]
    record = manifest_of(described).by_id[case.id]
    label_map = read_label_map(case.label, description.labels)
    assert record.grid_size == label_map.geometry.grid_size
    assert record.spacing_mm == pytest.approx(label_map.spacing_mm, rel=1e-5)
    assert record.volumes_ml == pytest.approx(label_map.volumes_ml(), abs=1e-6)
    assert record.intensities[0].std > 0


def test_its_digest_does_not_depend_on_the_place(described, tmp_path):
    shutil.copytree(described, tmp_path / "elsewhere")
    assert manifest_of(described).digest == manifest_of(tmp_path / "elsewhere").digest


def test_a_changed_byte_changes_the_digest_and_names_the_case(described):
    before = manifest_of(described)
    path = load_description(described).cases[1].label
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    after = manifest_of(described, previous=before)
    assert after.digest != before.digest
    changed = [c.id for c in after.cases if c.label != before.by_id[c.id].label]
    assert changed == [load_description(described).cases[1].id]


def test_voxels_have_a_digest_of_their_own(described):
    before = manifest_of(described)
    description = load_description(described)
    path = description.cases[0].label
    label_map = read_label_map(path, description.labels)
    path.unlink()
    write_label_map(label_map, path)
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\x01\x00\x00\x00" + content[8:])  # the time in gzip's header
    after = manifest_of(described)
    name = description.cases[0].id
    assert after.by_id[name].label != before.by_id[name].label
    assert after.by_id[name].voxels == before.by_id[name].voxels


def test_cases_that_are_known_are_not_decoded_again(described, monkeypatch):
    before = manifest_of(described)
    monkeypatch.setattr("medseg.dataset.manifest.read_case", None)
    assert manifest_of(described, previous=before) == before


def test_a_case_that_cannot_be_read_is_recorded(described):
    path = load_description(described).cases[0].images[0]
    path.write_bytes(b"nothing")
    manifest = manifest_of(described)
    assert [case.id for case in manifest.faulty] == [load_description(described).cases[0].id]
    assert "nii" in manifest.faulty[0].fault


def test_a_missing_file_is_a_fault_with_an_empty_digest(described):
    load_description(described).cases[0].label.unlink()
    case = manifest_of(described).cases[0]
    assert case.label == ""
    assert "nothing at" in case.fault


def test_it_comes_back_as_it_was_written(described):
    manifest = manifest_of(described)
    path = save_manifest(manifest, described)
    assert parse_manifest(path.read_bytes(), what="it") == manifest
    with pytest.raises(VersionError, match="must be the manifest of a data set"):
        parse_manifest(b"{}", what="it")


def test_a_version_is_known_while_nothing_changed(described):
    assert known_version(load_description(described), described) == ""
    manifest = manifest_of(described)
    save_manifest(manifest, described)
    description = load_description(described)
    assert known_version(description, described) == manifest.digest
    named = with_version(description, described / FILE_NAME.replace("version", "dataset"))
    assert named.data_version == manifest.digest
    label_map = read_label_map(description.cases[0].label, description.labels)
    changed = type(label_map)(
        np.zeros_like(label_map.array), label_map.geometry, label_map.labels
    )  # fmt: skip
    write_label_map(changed, description.cases[0].label)
    assert known_version(description, described) == ""


def test_the_version_is_not_written_into_a_description(described):
    description = load_description(described).model_copy(update={"data_version": "abc"})
    save_description(description, described)
    assert load_description(described).data_version == ""
