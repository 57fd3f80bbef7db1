"""A bundle's data are found among the versions, and what changed since is named."""

import pytest
from looping import write_data, write_label
from watching import small_bundle

from medseg.continual.standing import standing_of
from medseg.continual.versioned import VersionedData


@pytest.fixture
def data(tmp_path):
    write_data(tmp_path / "data", range(3))
    kept = VersionedData.create(tmp_path / "data")
    kept.commit("first")
    return kept


def test_a_bundle_finds_its_version_and_what_changed_since(data, tmp_path):
    names = tuple(case.id for case in data.description().cases)
    model = small_bundle(tmp_path / "bundle", learned=names)
    digest = data.manifest(data.find("v1")).digest
    origin = model.provenance.model_copy(update={"data_version": digest})
    assert standing_of(data, origin).matches
    write_label(data.root / "labels" / "case_01.nii.gz", 1, shift=1)
    found = standing_of(data, origin)
    assert found.version == data.versions()[0]
    assert (found.changed, found.missing, found.matches) == (("case_01",), (), False)
    unknown = standing_of(data, model.provenance.model_copy(update={"data_version": "f" * 64}))
    assert unknown.version is None
    assert not unknown.matches
