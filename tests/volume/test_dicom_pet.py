import numpy as np
import pydicom
import pytest

from medseg.errors import MissingUptake
from medseg.volume.dicom import find_only_series, inspect_series, read_series
from medseg.volume.dicom_pet import pet_facts, suv_factors

HALF_LIFE = 6588.0


def header(**changes):
    """A PET header of a scan one hour after 370 MBq of fluorine-18 into 70 kg."""
    drug = pydicom.Dataset()
    drug.RadionuclideTotalDose = 370e6
    drug.RadionuclideHalfLife = HALF_LIFE
    drug.RadiopharmaceuticalStartTime = "090000"
    dataset = pydicom.Dataset()
    dataset.Modality, dataset.Units, dataset.DecayCorrection = "PT", "BQML", "START"
    dataset.CorrectedImage = ["DECY", "ATTN", "SCAT"]
    dataset.PatientWeight = 70
    dataset.SeriesDate = dataset.AcquisitionDate = "20200102"
    dataset.SeriesTime, dataset.AcquisitionTime = "100000", "100000.00"
    for keyword, value in changes.items():
        place = drug if keyword.startswith("Radio") else dataset
        if value is None:
            place.pop(keyword, None)
        else:
            setattr(place, keyword, value)
    dataset.RadiopharmaceuticalInformationSequence = [drug]
    return dataset


def factor(**changes):
    return suv_factors([pet_facts(header(**changes))])[0]


def expected(seconds, dose=370e6, weight=70):
    return 1000 * weight / (dose * 2 ** (-seconds / HALF_LIFE))


def test_the_dose_decays_until_the_scan_starts():
    assert factor() == pytest.approx(expected(3600))


def test_decay_corrected_to_the_injection_needs_no_time():
    assert factor(
        DecayCorrection="ADMIN", SeriesTime=None, RadionuclideHalfLife=None
    ) == pytest.approx(70e3 / 370e6)


def test_an_injection_before_midnight_was_the_day_before():
    times = {"SeriesTime": "003000", "AcquisitionTime": "003000"}
    assert factor(RadiopharmaceuticalStartTime="233000", **times) == pytest.approx(expected(3600))


def test_a_date_of_the_injection_is_preferred_to_its_time():
    moment = "20200102080000.00"
    assert factor(RadiopharmaceuticalStartDateTime=moment) == pytest.approx(expected(7200))


def test_a_series_made_later_starts_when_ge_says():
    later = header(SeriesTime="150000")
    later.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", "20200102095500")
    assert suv_factors([pet_facts(later)])[0] == pytest.approx(expected(3300))


def test_a_series_made_later_starts_where_the_frame_says():
    frame = {"FrameReferenceTime": 90000.0, "ActualFrameDuration": 180000}
    rate = np.log(2) / HALF_LIFE
    middle = np.log(rate * 180 / (1 - np.exp(-rate * 180))) / rate
    got = factor(SeriesTime="150000", **frame)
    assert got == pytest.approx(expected(3600 + middle - 90))
    assert middle == pytest.approx(90, abs=0.5)


def test_a_series_made_later_starts_with_its_earliest_image():
    first = pet_facts(header(SeriesTime="150000", AcquisitionTime="100000"))
    second = pet_facts(header(SeriesTime="150000", AcquisitionTime="100300"))
    assert suv_factors([second, first]) == pytest.approx([expected(3600)] * 2)


@pytest.mark.parametrize("suv_type", [None, "BW"])
def test_values_that_are_uptake_already_stay(suv_type):
    facts = {"PatientWeight": None, "RadionuclideTotalDose": None, "SUVType": suv_type}
    assert factor(Units="GML", **facts) == 1


def philips(number, value, **changes):
    dataset = header(Units="CNTS", **changes)
    dataset.private_block(0x7053, "Philips PET Private Group", create=True).add_new(
        number, "DS", str(value)
    )
    return suv_factors([pet_facts(dataset)])[0]


def test_counts_of_philips_have_factors_of_their_own():
    assert philips(0x00, 0.25, PatientWeight=None) == 0.25
    assert philips(0x09, 2.0) == pytest.approx(2 * expected(3600))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"PatientWeight": None}, "no weight"),
        ({"PatientWeight": 0}, "a weight of 0 kg"),
        ({"PatientWeight": 70000}, "a weight of 70000 kg"),
        ({"RadionuclideTotalDose": None}, "no dose"),
        ({"RadionuclideTotalDose": 370}, "a dose of 370 Bq"),
        ({"RadionuclideHalfLife": None}, "no half-life"),
        ({"RadiopharmaceuticalStartTime": None}, "no time of injection"),
        ({"RadiopharmaceuticalStartTime": "nonsense"}, "no time of injection"),
        ({"SeriesTime": None, "AcquisitionTime": None}, "no time of the scan"),
        ({"RadiopharmaceuticalStartDateTime": "20200102110000"}, "an injection -1.0 hours"),
        ({"RadiopharmaceuticalStartDateTime": "20191231090000"}, "an injection 49.0 hours"),
        ({"DecayCorrection": "NONE"}, "decay correction NONE"),
        ({"DecayCorrection": None}, "decay correction not stated"),
        ({"CorrectedImage": ["DECY"]}, "not corrected for ATTN"),
        ({"CorrectedImage": None}, "not corrected for ATTN and DECY"),
        ({"Units": "CNTS"}, "values in CNTS"),
        ({"Units": None}, "values in no stated unit"),
        ({"Units": "GML", "SUVType": "LBM"}, "SUV by LBM"),
    ],
)
def test_what_is_missing_is_named(changes, what):
    with pytest.raises(MissingUptake, match=what):
        factor(**changes)


def pet_series(spoil, **changes):
    def change(dataset, k):
        for element in header(**changes):
            dataset[element.tag] = element
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.128"
        dataset.RescaleSlope, dataset.RescaleIntercept = 10 * (1 + k), 0

    return spoil(change)


def test_a_series_is_read_in_uptake_with_the_slope_of_each_slice(spoil, volume):
    series = find_only_series(pet_series(spoil))
    read = read_series(series)
    stored = volume.array.astype(np.float64) + 1024
    factors = 10 * (1 + np.arange(6)) * expected(3600)
    np.testing.assert_allclose(read.array, stored * factors, rtol=1e-5)
    assert [remark.code for remark in read.source.remarks] == ["suv"]
    geometry, remarks = inspect_series(series)
    assert geometry == read.geometry
    assert remarks == read.source.remarks


def test_a_series_without_weight_is_refused_before_pixels_are_read(spoil):
    series = find_only_series(pet_series(spoil, PatientWeight=None))
    for look in (inspect_series, read_series):
        with pytest.raises(MissingUptake, match="no weight"):
            look(series)


@pytest.mark.data
def test_a_real_series_in_grams_per_millilitre_is_the_uptake_that_its_providers_computed(data_root):
    import nibabel as nib

    folder = data_root / "sts_petct_mr"
    read = read_series(folder / "dicom/STS_025/PET/image")
    (path,) = [
        p for p in (folder / "nifti").rglob("*.nii.gz")
        if "STS_025" in str(p) and "PET" in str(p) and "mask" not in str(p).lower()
    ]  # fmt: skip
    image = nib.load(path)
    ours = read.reoriented("LPS")
    assert ours.array.shape[1:] == image.shape
    np.testing.assert_allclose(ours.array[0], np.asarray(image.dataobj), atol=2e-3)
    assert [remark.code for remark in read.source.remarks] == ["suv"]


@pytest.mark.data
def test_the_facts_of_a_real_series_are_plausible(data_root):
    folder = data_root / "sts_petct_mr/dicom/STS_025/PET/image"
    dataset = pydicom.dcmread(next(folder.iterdir()), stop_before_pixels=True)
    dataset.Units, dataset.SUVType = "BQML", ""
    as_activity = suv_factors([pet_facts(dataset)])[0]
    assert as_activity == pytest.approx(1000 * 66 / 413949888)  # DecayCorrection ADMIN
    dataset.DecayCorrection = "START"
    left = 2 ** (-(5784) / 6588)  # 10:16:00 to 11:52:24
    assert suv_factors([pet_facts(dataset)])[0] == pytest.approx(as_activity / left)
