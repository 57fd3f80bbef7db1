import numpy as np
import pytest

from medseg.errors import InvalidSegmentation, MissingGeometry
from medseg.volume.dicom import find_only_series, stack_series
from medseg.volume.dicom_source import require_identity, source_headers, values_on_slices
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap


def test_headers_come_in_the_order_of_slices_as_utf8(spoil):
    def change(dataset, k):
        dataset.SpecificCharacterSet, dataset.PatientName = "ISO_IR 100", "Müller^Jörg"

    stack = stack_series(find_only_series(spoil(change)))
    headers = source_headers(stack)
    assert [h.SOPInstanceUID for h in headers] == [s.sop_instance_uid for s in stack.slices]
    assert headers[0].SpecificCharacterSet == "ISO_IR 192"
    assert str(headers[0].PatientName) == "Müller^Jörg"


def test_values_are_those_of_the_pixels_of_each_slice(series, volume):
    stack = stack_series(find_only_series(series))
    array = np.random.default_rng(0).integers(0, 3, (5, 4, 6)).astype(np.uint8)
    labels = (Label(value=1, name="a"), Label(value=2, name="b"))
    mask = LabelMap(array, volume.geometry, labels)
    for orientation in ("LPS", "RAS", "SAL"):
        assert np.array_equal(values_on_slices(mask.reoriented(orientation), stack), array.T)


@pytest.mark.parametrize(
    ("keyword", "error", "what"),
    [
        ("StudyInstanceUID", InvalidSegmentation, "without StudyInstanceUID"),
        ("SeriesInstanceUID", InvalidSegmentation, "without SeriesInstanceUID"),
        ("FrameOfReferenceUID", MissingGeometry, "no FrameOfReferenceUID"),
    ],
)
def test_a_series_that_nothing_can_refer_to_is_refused(spoil, keyword, error, what):
    series = find_only_series(spoil(lambda dataset, k: delattr(dataset, keyword)))
    with pytest.raises(error, match=what):
        require_identity(series)


def test_a_whole_series_passes(series):
    require_identity(find_only_series(series))
