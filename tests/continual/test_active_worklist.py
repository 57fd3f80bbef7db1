"""A folder to work through: list, images and masks, whole or not at all."""

import csv

import numpy as np
import pytest
from watching import small_bundle, volume_of, write_cases

from medseg.continual.active import Chosen, Selection
from medseg.continual.active_worklist import write_worklist
from medseg.errors import CannotWrite, DriftError
from medseg.inference.inputs import CaseInput, find_inputs
from medseg.volume.dicom_write import write_series
from medseg.volume.io import read_label_map, read_volume, write_volume


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return small_bundle(tmp_path_factory.mktemp("b") / "bundle")


def selection(*names):
    chosen = tuple(Chosen(rank=n + 1, case=name, score=0.5) for n, name in enumerate(names))
    return Selection(strategy="entropy", seed=0, pool=9, chosen=chosen)


def rows_of(path):
    with path.open() as stream:
        return list(csv.DictReader(stream))


def test_image_and_mask_have_one_name_and_one_grid(tmp_path, bundle):
    cases = write_cases(tmp_path, 4)
    listed = write_worklist(selection("case_02", "case_00"), cases, bundle, tmp_path / "out")
    rows = rows_of(listed)
    assert [row["case"] for row in rows] == ["case_02", "case_00"]
    for row in rows:
        image, mask = (tmp_path / "out" / row[name] for name in ("image", "mask"))
        assert image.name == mask.name == f"{row['case']}.nii.gz"
        assert read_volume([image]).geometry == read_label_map(mask).geometry
        np.testing.assert_array_equal(
            read_volume([image]).array, read_volume([tmp_path / image.name]).array
        )
        assert row["corrected"] == f"images/labels/final/{mask.name}"
    final = tmp_path / "out" / "images" / "labels" / "final"
    assert list(final.iterdir()) == []


def test_other_formats_become_nifti(tmp_path, bundle):
    path = tmp_path / "scan.nrrd"
    write_volume(volume_of(0), path)
    listed = write_worklist(selection("scan"), [CaseInput("scan", (path,))], bundle, tmp_path / "o")
    (row,) = rows_of(listed)
    np.testing.assert_allclose(
        read_volume([listed.parent / row["image"]]).array, volume_of(0).array, rtol=1e-6
    )


def test_a_series_keeps_its_files_and_gets_a_dicom_seg(tmp_path, bundle):
    write_series(volume_of(0), tmp_path / "study" / "a", patient_name="A^B", patient_id="1")
    (case,) = find_inputs([tmp_path / "study"])
    listed = write_worklist(selection(case.id), [case], bundle, tmp_path / "out")
    (row,) = rows_of(listed)
    assert row["mask"] == f"dicom-seg/{case.id}.dcm"
    assert row["image"] == f"dicom/{case.id}"
    (copied,) = find_inputs([tmp_path / "out" / "dicom"])
    assert copied.series.uid == case.series.uid
    assert len(copied.images) == len(case.images)
    assert not (tmp_path / "out" / "images").exists()


def test_nothing_is_written_over(tmp_path, bundle):
    cases = write_cases(tmp_path, 1)
    out = tmp_path / "out"
    write_worklist(selection("case_00"), cases, bundle, out)
    with pytest.raises(CannotWrite, match="a folder of its own"):
        write_worklist(selection("case_00"), cases, bundle, out)


def test_a_case_that_fails_leaves_nothing(tmp_path, bundle):
    (tmp_path / "broken.nii.gz").write_bytes(b"nothing")
    broken = CaseInput("broken", (tmp_path / "broken.nii.gz",))
    with pytest.raises(DriftError, match=r"gets a mask to correct\. Received: broken"):
        write_worklist(selection("broken"), [broken], bundle, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".partial*"))
