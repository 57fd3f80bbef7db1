"""A DICOM-SEG of a cine loop: its bits are the masks, each frame names its own."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medseg.errors import InvalidSegmentation
from medseg.volume.dicom_cine_seg import CineSegmentation
from medseg.volume.labels import Label
from sequences import made_up_frames, write_cine

LABELS = (Label(value=2, name="wall"), Label(value=5, name="lumen"))


def masks(count: int, size: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.choice(np.array([0, 2, 5], np.uint8), (count, *size))


def written(folder: Path, given: np.ndarray, numbers: list[int]) -> Path:
    loop = write_cine(folder / "loop.dcm", made_up_frames(6, given.shape[1:]))
    with CineSegmentation(
        folder / "seg.dcm", loop, LABELS, algorithm="test", version="1"
    ) as segmentation:
        for mask, number in zip(given, numbers, strict=True):
            segmentation.add(mask, number)
    return folder / "seg.dcm"


@pytest.mark.parametrize("size", [(24, 32), (23, 31)])
def test_bits_are_the_masks(tmp_path: Path, size: tuple[int, int]) -> None:
    given, numbers = masks(3, size), [1, 2, 5]
    given[1][given[1] == 5] = 0
    seg = pydicom.dcmread(written(tmp_path, given, numbers))
    assert int(seg.NumberOfFrames) == 5
    found = np.zeros_like(given)
    for bits, group in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        segment = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        place = numbers.index(source.ReferencedFrameNumber)
        found[place][bits > 0] = LABELS[segment - 1].value
    assert (found == given).all()


def test_it_refers_to_the_loop(tmp_path: Path) -> None:
    seg = pydicom.dcmread(written(tmp_path, masks(1, (24, 32)), [4]))
    loop = pydicom.dcmread(tmp_path / "loop.dcm")
    (series,) = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == loop.SeriesInstanceUID
    assert series.ReferencedInstanceSequence[0].ReferencedSOPClassUID == loop.SOPClassUID
    source = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
    assert source.SourceImageSequence[0].ReferencedSOPInstanceUID == loop.SOPInstanceUID
    assert [s.SegmentLabel for s in seg.SegmentSequence] == ["wall", "lumen"]


def test_a_loop_in_which_nothing_was_found_keeps_one_empty_frame(tmp_path: Path) -> None:
    seg = pydicom.dcmread(written(tmp_path, np.zeros((2, 24, 32), np.uint8), [1, 2]))
    assert int(seg.NumberOfFrames) == 1
    assert not seg.pixel_array.any()
    assert seg.ContentDescription.startswith("Nothing found")


def test_the_validator_finds_no_error(tmp_path: Path) -> None:
    validator = shutil.which("dciodvfy")
    if validator is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    path = written(tmp_path, masks(2, (24, 32)), [1, 3])
    run = subprocess.run([validator, str(path)], capture_output=True, text=True, check=False)
    assert [line for line in run.stderr.splitlines() if line.startswith("Error")] == []


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    loop = write_cine(tmp_path / "loop.dcm", made_up_frames(2))
    with (
        pytest.raises(RuntimeError, match="on the way"),
        CineSegmentation(tmp_path / "seg.dcm", loop, LABELS, algorithm="t", version="1"),
    ):
        raise RuntimeError("on the way")
    assert [path.name for path in tmp_path.iterdir()] == ["loop.dcm"]


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    loop = write_cine(tmp_path / "loop.dcm", made_up_frames(1))
    with pytest.raises(InvalidSegmentation, match="at least one segment"):
        CineSegmentation(tmp_path / "seg.dcm", loop, (), algorithm="t", version="1")
