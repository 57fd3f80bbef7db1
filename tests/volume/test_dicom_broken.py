"""Bytes that were changed, lost or added: whatever is in a file, it is read or refused in words."""

import random

import numpy as np
import pydicom
import pytest

from medseg.errors import MedsegError
from medseg.volume.dicom import find_only_series, find_series, inspect_series, read_series
from medseg.volume.dicom_labels import (
    described_labels,
    is_dicom_labels,
    read_labels_on,
    referenced_uids,
)
from medseg.volume.dicom_rtstruct import write_structures
from medseg.volume.dicom_seg import write_segmentation
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap

pytestmark = pytest.mark.filterwarnings("ignore")
TIMES = 50


def mutated(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 5, 20])):
        at, way = draw.randrange(132, max(len(changed), 134)), draw.random()
        if way < 0.5:
            changed[at : at + 1] = bytes([draw.randrange(256)])
        elif way < 0.7:
            del changed[at : at + draw.randrange(1, 40)]
        elif way < 0.9:
            changed[at:at] = draw.randbytes(draw.randrange(1, 9))
        else:
            del changed[at:]
    return bytes(changed)


def outcomes(*calls):
    """How many of the calls were refused; anything but a refusal in words fails the test."""
    refusals = []
    for call in calls:
        try:
            call()
        except MedsegError as error:
            refusals.append(error)
    assert all(error.rule.endswith(".") and error.received for error in refusals)
    return len(refusals)


@pytest.mark.parametrize("kind", ["binary", "fractional", "labelmap", "rtstruct"])
def test_labels(tmp_path, series, volume, kind):
    array = np.zeros((5, 4, 6), np.uint8)
    array[1:4, 1:3, 1:5] = 1
    mask = LabelMap(array, volume.geometry, (Label(value=1, name="a"),))
    path, source = tmp_path / "m.dcm", find_only_series(series)
    if kind == "rtstruct":
        write_structures(mask, source, path, algorithm="t", version="1")
    else:
        write_segmentation(mask, source, path, algorithm="t", version="1", kind=kind)
    content, draw, refused = path.read_bytes(), random.Random(kind), 0
    for _ in range(TIMES):
        path.write_bytes(mutated(content, draw))
        refused += outcomes(
            lambda: is_dicom_labels(path),
            lambda: read_labels_on(path, volume.geometry),
            lambda: described_labels(path),
            lambda: referenced_uids(path),
        )
    assert 0 < refused < 4 * TIMES


def test_series(series):
    path = series / "0003.dcm"
    header = pydicom.dcmread(path)
    header.Modality, header.Units = "PT", "GML"
    header.add_new("PixelPaddingValue", "SS", 3)
    header.save_as(path)
    content, draw, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(TIMES):
        path.write_bytes(mutated(content, draw))
        refused += outcomes(
            lambda: read_series(find_only_series(series, allow_gaps=True)),
            lambda: [inspect_series(one) for one in find_series(series)],
        )
    assert 0 < refused < 2 * TIMES
