"""One case from files to results, with a network of random weights."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from small_service import phantom_nifti

from medseg.bundle import save_bundle
from medseg.errors import NoDicom, UnknownBundle, WrongInput
from medseg.service.segmenting import Segmenter
from medseg.service.work import Options, Work
from medseg.volume.dicom import read_series_geometry
from medseg.volume.dicom_seg import read_segmentation
from medseg.volume.io import read_label_map

INFERENCE = str(Path(__file__).parents[1] / "inference")
if INFERENCE not in sys.path:
    sys.path.append(INFERENCE)

from small import make_bundle  # noqa: E402

Write = Callable[..., list[Path]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segmenting") / "random"
    save_bundle(make_bundle(), folder)
    return folder


@pytest.fixture
def work_of(write_study: Write, bundle: Path, tmp_path: Path) -> Callable[..., Work]:
    """The work of segmenting a small series."""
    files = write_study()
    uid = str(pydicom.dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID)

    def make(key: str = "a" * 64, **changed: Any) -> Work:
        values = {"bundle": bundle, "files": files, "series_uid": uid, "out": tmp_path / key[:1]}
        return Work.model_validate({"key": key, **values, **changed})

    return make


def carry_out(segmenter: Segmenter, work: Work, *stages: str) -> dict[str, Any]:
    told: list[float] = []
    for stage in stages or ("assemble", "segment", "encode"):
        facts = getattr(segmenter, stage)(work, told.append)
    assert told[-1] == 1.0
    assert all(0 <= share <= 1 for share in told)
    return dict(facts)


def test_a_series_becomes_files_and_facts(work_of: Callable[..., Work]) -> None:
    work = work_of()
    facts = carry_out(Segmenter(), work)
    mask = read_label_map(work.out / "mask.nii.gz", labels=make_bundle().labels)
    files = ["image.nii.gz", "mask.nii.gz", "measurements.dcm", "report.json", "seg.dcm"]
    assert facts["files"] == files
    assert facts["size_bytes"] == sum((work.out / name).stat().st_size for name in files)
    assert facts["volumes_ml"] == pytest.approx(mask.volumes_ml())
    assert facts["grid_size"] == [6, 5, 4]
    assert facts["spacing_mm"] == [1.0, 1.0, 2.0]
    assert [label["name"] for label in facts["labels"]] == ["organ 1", "organ 2"]
    report = json.loads((work.out / "report.json").read_text())
    assert report["volumes_ml"] == facts["volumes_ml"]
    reference = read_series_geometry(work.files[0].parent)
    seg = read_segmentation(work.out / "seg.dcm", reference=reference)
    assert np.array_equal(np.unique(seg.array), np.unique(mask.array))


def test_a_process_that_takes_over_makes_up_for_the_stages_of_another(
    work_of: Callable[..., Work],
) -> None:
    whole, late = work_of("a" * 64), work_of("b" * 64)
    expected = carry_out(Segmenter(), whole)
    found = carry_out(Segmenter(), late, "encode")
    assert found["volumes_ml"] == expected["volumes_ml"]


def test_identifiers_follow_from_the_key(work_of: Callable[..., Work], tmp_path: Path) -> None:
    segmenter = Segmenter()
    uids = []
    for key, out in (("a" * 64, "x"), ("a" * 64, "y"), ("b" * 64, "z")):
        work = work_of(key, out=tmp_path / out)
        carry_out(segmenter, work)
        seg = pydicom.dcmread(work.out / "seg.dcm", stop_before_pixels=True)
        report = pydicom.dcmread(work.out / "measurements.dcm")
        uids.append((seg.SOPInstanceUID, seg.SeriesInstanceUID, report.SOPInstanceUID))
    assert uids[0] == uids[1]
    assert not set(uids[0]) & set(uids[2])


def test_an_image_that_is_no_dicom(work_of: Callable[..., Work], tmp_path: Path) -> None:
    upload = phantom_nifti(tmp_path / "x.nii.gz")
    facts = carry_out(Segmenter(), work_of(files=(), series_uid="", upload=upload))
    assert facts["files"] == ["image.nii.gz", "mask.nii.gz", "report.json"]


@pytest.mark.parametrize("kind", ["fractional", "labelmap"])
def test_how_masks_are_stored_is_chosen(work_of: Callable[..., Work], kind: str) -> None:
    work = work_of(options=Options(seg_type=kind))
    facts = carry_out(Segmenter(), work)
    seg = pydicom.dcmread(work.out / "seg.dcm", stop_before_pixels=True)
    assert seg.SegmentationType == kind.upper()
    assert "measurements.dcm" not in facts["files"]


def test_what_cannot_be_segmented(work_of: Callable[..., Work], tmp_path: Path) -> None:
    segmenter = Segmenter()
    with pytest.raises(NoDicom, match="must hold the series that was chosen"):
        carry_out(segmenter, work_of(series_uid="1.2.3"))
    with pytest.raises(UnknownBundle, match="nowhere"):
        carry_out(segmenter, work_of(bundle=tmp_path / "nowhere"))


def test_a_series_of_another_modality(work_of: Callable[..., Work], write_study: Write) -> None:
    files = write_study("ct", modality="CT")
    uid = str(pydicom.dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID)
    with pytest.raises(WrongInput, match="a CT image"):
        carry_out(Segmenter(), work_of(files=files, series_uid=uid))


def test_missing_slices_are_filled_where_that_was_chosen(work_of: Callable[..., Work]) -> None:
    whole = work_of()
    files = [whole.files[0], *whole.files[2:]]
    options = Options(allow_gaps=True)
    facts = carry_out(Segmenter(), work_of(files=files, options=options))
    assert facts["grid_size"] == [6, 5, 4]
    assert facts["remarks"]


def test_a_bundle_is_made_ready_and_stays_so(
    work_of: Callable[..., Work], bundle: Path, tmp_path: Path
) -> None:
    segmenter = Segmenter()
    segmenter.make_ready(tmp_path / "nowhere")
    assert segmenter._predictor is None
    segmenter.make_ready(bundle)
    ready = segmenter._predictor
    assert ready is not None
    carry_out(segmenter, work_of())
    assert segmenter._predictor is ready
