"""PET in standardised uptake values by body weight, or a refusal that says what is missing.

The rules are those of QIBA's vendor-neutral pseudo-code (QIBA Profile FDG-PET/CT 1.13, appendix G),
with DICOM's own words for the time that decay was corrected to (PS3.3, C.8.9.1).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from medseg.errors import MissingUptake

PET_TAGS = [
    "Units", "SUVType", "DecayCorrection", "CorrectedImage", "PatientWeight",
    "RadiopharmaceuticalInformationSequence", "SeriesDate", "SeriesTime", "AcquisitionDate",
    "AcquisitionTime", "FrameReferenceTime", "ActualFrameDuration",
    0x00090010, 0x0009100D, 0x70530010, 0x70531000, 0x70531009,
]  # fmt: skip
"""The last ones are private: GE's scan time, and Philips' factors."""

_GE, _PHILIPS = "GEMS_PETD_01", "Philips PET Private Group"
_SHORTEST_MOMENT = len("YYYYMMDDHH")
_LONGEST_DECAY = timedelta(days=1)
_LEAST_DOSE_BQ = 1e5
_WEIGHTS_KG = (0.2, 500.0)
"""Values beyond these are of another unit (MBq, g) or none."""

_CURE = "Export the original series with its injection data, or convert it to SUV (units GML)."


@dataclass(frozen=True)
class PetFacts:
    """What a PET header says; None or "" where it says nothing that could be understood.

    Attributes:
        units: "BQML", "CNTS", "GML" and so on.
        suv_type: Of GML: "BW" is body weight.
        decay_correction: "START" of the scan, "ADMIN" (injection) or "NONE".
        corrections: What was corrected for: "DECY", "ATTN" and so on.
        weight_kg: Of the patient.
        dose_bq: Injected.
        half_life_seconds: Of the nuclide.
        injected: When; without a date of its own that of the series.
        injected_on: Whether the date of the injection is stated.
        series_start: SeriesDate and SeriesTime.
        acquired: AcquisitionDate and AcquisitionTime.
        reference_seconds: From the time that decay is corrected to, to the middle of the counts.
        duration_seconds: Of this bed position.
        scan_start: GE's own word for the start.
        philips_suv: Philips' factor from counts to SUV.
        philips_bqml: Philips' factor from counts to Bq/ml.
    """

    units: str
    suv_type: str
    decay_correction: str
    corrections: tuple[str, ...]
    weight_kg: float | None
    dose_bq: float | None
    half_life_seconds: float | None
    injected: datetime | None
    injected_on: bool
    series_start: datetime | None
    acquired: datetime | None
    reference_seconds: float | None
    duration_seconds: float | None
    scan_start: datetime | None
    philips_suv: float | None
    philips_bqml: float | None


def pet_facts(dataset: Any) -> PetFacts:
    """What a PET header says about uptake."""
    drugs = dataset.get("RadiopharmaceuticalInformationSequence")
    drug = drugs[0] if drugs else {}
    start = _moment(str(drug.get("RadiopharmaceuticalStartDateTime") or ""))
    series_date = str(dataset.get("SeriesDate") or "")
    start_time = str(drug.get("RadiopharmaceuticalStartTime") or "").replace(":", "")
    corrected = dataset.get("CorrectedImage") or ()
    reference_ms, duration_ms = (
        _number(dataset.get(word)) for word in ("FrameReferenceTime", "ActualFrameDuration")
    )
    return PetFacts(
        units=str(dataset.get("Units") or ""),
        suv_type=str(dataset.get("SUVType") or ""),
        decay_correction=str(dataset.get("DecayCorrection") or ""),
        corrections=(corrected,) if isinstance(corrected, str) else tuple(map(str, corrected)),
        weight_kg=_number(dataset.get("PatientWeight")),
        dose_bq=_number(drug.get("RadionuclideTotalDose")),
        half_life_seconds=_number(drug.get("RadionuclideHalfLife")),
        injected=start or (_moment(series_date + start_time) if start_time else None),
        injected_on=start is not None,
        series_start=_when(dataset, "Series"),
        acquired=_when(dataset, "Acquisition"),
        reference_seconds=None if reference_ms is None else reference_ms / 1000,
        duration_seconds=None if duration_ms is None else duration_ms / 1000,
        scan_start=_moment(_private(dataset, 0x00090010, _GE, 0x0009100D)),
        philips_suv=_number(_private(dataset, 0x70530010, _PHILIPS, 0x70531000)),
        philips_bqml=_number(_private(dataset, 0x70530010, _PHILIPS, 0x70531009)),
    )


def suv_factors(facts: Sequence[PetFacts | None]) -> tuple[float, ...]:
    """Grams per millilitre and unit of the real values, for each slice of one series.

    Raises:
        MissingUptake: If weight, dose, time or another fact that is needed is missing or cannot be.
    """
    starts = [one.acquired for one in facts if one is not None and one.acquired is not None]
    earliest = min(starts, default=None)
    return tuple(1.0 if one is None else _factor(one, earliest) for one in facts)


def _factor(one: PetFacts, earliest: datetime | None) -> float:
    if one.units == "GML":
        if one.suv_type not in ("", "BW"):
            raise _missing(f"values that are SUV by {one.suv_type}, not by body weight")
        return 1.0
    if one.units == "CNTS" and one.philips_suv:
        return one.philips_suv
    if one.units == "CNTS" and one.philips_bqml:
        return one.philips_bqml * _factor_of_activity(one, earliest)
    if one.units == "BQML":
        return _factor_of_activity(one, earliest)
    raise _missing(f"values in {one.units or 'no stated unit'}")


def _factor_of_activity(one: PetFacts, earliest: datetime | None) -> float:
    """From Bq/ml to SUV: 1000 x weight in kg / dose in Bq that is left at the reference time."""
    lacking = {word for word in ("ATTN", "DECY") if word not in one.corrections}
    if lacking:
        raise _missing(f"images not corrected for {' and '.join(sorted(lacking))}")
    if one.weight_kg is None or one.dose_bq is None:
        raise _missing(f"no {'dose' if one.weight_kg is not None else 'weight'}")
    if not _WEIGHTS_KG[0] <= one.weight_kg <= _WEIGHTS_KG[1]:
        raise _missing(f"a weight of {one.weight_kg:g} kg")
    if one.dose_bq < _LEAST_DOSE_BQ:
        raise _missing(f"a dose of {one.dose_bq:g} Bq")
    if one.decay_correction == "ADMIN":
        left = 1.0
    elif one.decay_correction == "START":
        left = _left_of_dose(one, earliest)
    else:
        raise _missing(f"decay correction {one.decay_correction or 'not stated'}")
    return 1000 * one.weight_kg / (one.dose_bq * left)


def _left_of_dose(one: PetFacts, earliest: datetime | None) -> float:
    if one.half_life_seconds is None or one.half_life_seconds <= 0:
        raise _missing("no half-life")
    if one.injected is None:
        raise _missing("no time of injection")
    start = _scan_start(one, earliest)
    if start is None:
        raise _missing("no time of the scan")
    decay = start - one.injected
    if decay < timedelta() and not one.injected_on:
        decay += _LONGEST_DECAY  # injected before midnight
    if not timedelta() <= decay < _LONGEST_DECAY:
        hours = decay.total_seconds() / 3600
        raise _missing(f"an injection {hours:.1f} hours before the scan")
    return float(2 ** (-decay.total_seconds() / one.half_life_seconds))


def _scan_start(one: PetFacts, earliest: datetime | None) -> datetime | None:
    """The time that decay was corrected to; that of a series may be of its making instead."""
    if one.series_start and (earliest is None or one.series_start <= earliest):
        return one.series_start
    if one.scan_start:
        return one.scan_start
    if one.acquired and one.reference_seconds is not None and one.duration_seconds:
        middle = _mean_count_seconds(one.duration_seconds, float(one.half_life_seconds or 0))
        return one.acquired + timedelta(seconds=middle - one.reference_seconds)
    return earliest


def _mean_count_seconds(duration_seconds: float, half_life_seconds: float) -> float:
    """When within a frame the count rate is that of its mean: before its middle, by decay."""
    rate = math.log(2) / half_life_seconds
    decay = rate * duration_seconds
    return math.log(decay / -math.expm1(-decay)) / rate


def _when(dataset: Any, what: str) -> datetime | None:
    date, time = (str(dataset.get(f"{what}{part}") or "") for part in ("Date", "Time"))
    return _moment(date + time.replace(":", "")) if date and time else None


def _moment(text: str) -> datetime | None:
    """A DICOM date and time; time zones are left out, since one clock wrote them all."""
    digits = text.split("+")[0].split("-")[0].strip()
    whole, _, fraction = digits.partition(".")
    if len(whole) < _SHORTEST_MOMENT:
        return None
    try:
        moment = datetime.strptime(whole, "%Y%m%d%H%M%S"[: 2 * ((len(whole) - 4) // 2 + 1)])
        return moment + timedelta(seconds=float(f"0.{fraction or 0}"))
    except ValueError:
        return None


def _private(dataset: Any, creator_tag: int, creator: str, tag: int) -> str:
    """A private value whose creator is the right one, as text."""
    said = dataset.get(creator_tag)
    element = dataset.get(tag)
    if said is None or element is None or str(said.value).strip() != creator:
        return ""
    value = element.value
    return value.decode("ascii", "replace").strip() if isinstance(value, bytes) else str(value)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _missing(received: str) -> MissingUptake:
    return MissingUptake(
        "PET becomes uptake values (SUV by body weight) from weight, dose and times of the series.",
        received=received,
        cure=_CURE,
    )
