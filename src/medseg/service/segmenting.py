"""One case from files to results: decode, segment, encode. Runs in a process of its own."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from medseg.bundle import load_bundle
from medseg.errors import CorruptBundle, MedsegError, NoDicom
from medseg.files import atomic_file
from medseg.inference.predict import Prediction, Predictor
from medseg.progress import Task
from medseg.service.work import Work
from medseg.specs.base import FROZEN
from medseg.volume.dicom import Series, find_series, read_series, select_series, write_series
from medseg.volume.dicom_seg import write_segmentation
from medseg.volume.dicom_sr import write_measurements
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_volume, write_label_map, write_volume
from medseg.volume.labels import colour_of
from medseg.volume.volume import Volume

_FAILURES = (MedsegError, MemoryError, RuntimeError)

Told = Callable[[float], None]
"""Takes how much of a stage is done, from 0 to 1."""


@dataclass
class _Case:
    """What is known of the case so far."""

    work: Work
    folder: tempfile.TemporaryDirectory[str] | None = None
    series: Series | None = None
    volume: Volume | None = None
    prediction: Prediction | None = None
    seconds: dict[str, float] = field(default_factory=dict)


class Segmenter:
    """Carries out the stages of one job at a time, and keeps the bundle ready for the next one.

    Each stage makes up for stages that another process has carried out: what they left in that
    process' memory is gone.
    """

    def __init__(self) -> None:
        self._case: _Case | None = None
        self._predictor: Predictor | None = None
        self._ready = ("", False)

    def make_ready(self, bundle: Path) -> None:
        """Load a bundle and let a series of nothing go all the way.

        So the first case need not wait for what is loaded and compiled at its first use. What fails
        here will fail again with the first case, and be told then.
        """
        with tempfile.TemporaryDirectory(prefix="medseg-ready-") as name, suppress(*_FAILURES):
            plan = self._loaded(bundle, tta=False).bundle.plan
            geometry = Geometry.from_spacing(plan.spacing_mm, plan.patch_size)
            blank = Volume(np.zeros((1, *plan.patch_size), np.int16), geometry)
            folder = Path(name) / "series"
            modality = "CT" if plan.channels[0].modality == "CT" else "MR"
            write_series(
                blank, folder, modality=modality, patient_name="Nobody^", patient_id="none"
            )
            (series,) = find_series(folder)
            work = Work(
                key="", bundle=bundle, files=series.paths, series_uid=series.uid,
                out=Path(name) / "out",
            )  # fmt: skip
            self.encode(work, lambda share: None)

    def assemble(self, work: Work, told: Told) -> dict[str, Any]:
        """Files -> a volume.

        Raises:
            DicomError: If the series is no volume.
            FileError: If a file cannot be read.
        """
        self._forget()
        case = self._case = _Case(work)
        if work.upload is not None:
            case.volume = read_volume(work.upload)
        else:
            case.folder = tempfile.TemporaryDirectory(prefix="medseg-series-")
            series = _series_of(work, Path(case.folder.name))
            case.series, case.volume = series, read_series(series)
        told(1.0)
        return {"remarks": [one.text for one in case.volume.source.remarks]}

    def segment(self, work: Work, told: Told) -> dict[str, Any]:
        """A volume -> a mask.

        Raises:
            BundleError: If the bundle cannot be used, or was not made for such a case.
            MemoryTooSmall: If there is not enough memory for it.
        """
        case = self._case_of(work, told)
        assert case.volume is not None
        predictor = self._predictor_of(work)
        case.prediction = predictor.predict(case.volume, progress=_Telling(told))
        return {"seconds_of_the_network": case.prediction.seconds}

    def encode(self, work: Work, told: Told) -> dict[str, Any]:
        """A mask -> files and facts.

        Raises:
            DicomError: If the series lacks what a DICOM-SEG must refer to.
            CannotWrite: If there is no room for the files.
        """
        case = self._case_of(work, told)
        if case.prediction is None:
            self.segment(work, told)
        assert case.prediction is not None
        assert case.volume is not None
        work.out.mkdir(parents=True, exist_ok=True)
        label_map = case.prediction.label_map
        write_label_map(label_map, work.out / "mask.nii.gz")
        write_volume(case.volume, work.out / "image.nii.gz")
        if case.series is not None:
            self._write_dicom(case, work)
        facts = self._facts(case, work)
        report = Report.model_validate(facts)
        with atomic_file(work.out / "report.json") as temporary:
            temporary.write_text(report.model_dump_json(indent=2), encoding="utf-8")
        facts["files"] = sorted(path.name for path in work.out.iterdir())
        facts["size_bytes"] = sum(path.stat().st_size for path in work.out.iterdir())
        self._forget()
        told(1.0)
        return facts

    def _write_dicom(self, case: _Case, work: Work) -> None:
        assert case.prediction is not None
        assert case.series is not None
        bundle = self._predictor_of(work).bundle
        made = {"algorithm": bundle.name, "version": bundle.weights_sha256[:12]}
        seg = work.out / "seg.dcm"
        write_segmentation(
            case.prediction.label_map, case.series, seg, **made,
            kind=work.options.seg_type, identity=work.key,
        )  # fmt: skip
        if work.options.seg_type == "binary":
            write_measurements(
                case.prediction.volumes_ml, case.series, seg, work.out / "measurements.dcm",
                **made, identity=work.key,
            )  # fmt: skip

    def _facts(self, case: _Case, work: Work) -> dict[str, Any]:
        assert case.prediction is not None
        assert case.volume is not None
        bundle, found = self._predictor_of(work).bundle, case.prediction
        geometry = found.label_map.geometry
        return {
            "model": bundle.identity,
            "volumes_ml": found.volumes_ml,
            "quality": found.quality.model_dump(mode="json"),
            "labels": [
                {"name": one.name, "value": one.value, "colour": colour_of(bundle.labels, one)}
                for one in bundle.labels
            ],
            "remarks": [one.text for one in case.volume.source.remarks],
            "grid_size": list(geometry.grid_size),
            "spacing_mm": [float(one) for one in geometry.spacing_mm],
            "seconds_of_the_network": found.seconds,
        }

    def _case_of(self, work: Work, told: Told) -> _Case:
        if self._case is None or self._case.work != work:
            self.assemble(work, told)
        assert self._case is not None
        return self._case

    def _predictor_of(self, work: Work) -> Predictor:
        return self._loaded(work.bundle, tta=work.options.tta)

    def _loaded(self, folder: Path, *, tta: bool) -> Predictor:
        wanted = str(folder), tta
        if self._predictor is None or self._ready != wanted:
            self._predictor = None
            bundle = load_bundle(folder)
            if bundle.folder is None:
                raise CorruptBundle("A bundle that is served lies on the disk.")
            self._predictor, self._ready = Predictor(bundle, mirrors=tta), wanted
        return self._predictor

    def _forget(self) -> None:
        if self._case is not None and self._case.folder is not None:
            self._case.folder.cleanup()
        self._case = None


class Report(BaseModel):
    """The content of `report.json`."""

    model_config = FROZEN

    model: str
    volumes_ml: dict[str, float]
    quality: dict[str, Any]
    labels: list[dict[str, Any]]
    remarks: list[str]
    grid_size: list[int]
    spacing_mm: list[float]
    seconds_of_the_network: float


def _series_of(work: Work, folder: Path) -> Series:
    """The series, found by what its files say; they lie apart, so links to them are gathered."""
    for number, path in enumerate(work.files):
        (folder / f"{number:06}.dcm").symlink_to(path)
    chosen = select_series(find_series(folder), work.series_uid, folder)
    if len(chosen) != 1:
        raise NoDicom(
            "A job is about one series of images.",
            received=f"{len(chosen)} series",
            cure="Send the series again.",
        )
    series = chosen[0]
    if work.options.allow_gaps:
        return replace(series, allow_gaps=True)
    return series


class _Telling:
    """Progress of the prediction, as a share of its stage."""

    def __init__(self, told: Told) -> None:
        self._told, self._last = told, 0.0

    @contextmanager
    def task(self, what: str, total: float | None) -> Iterator[Task]:
        yield _Bar(self, total)

    def note(self, message: str) -> None:
        pass

    def tell(self, share: float) -> None:
        now = time.monotonic()
        if share >= 1 or now - self._last > 0.2:
            self._last = now
            self._told(min(share, 1.0))


class _Bar:
    def __init__(self, telling: _Telling, total: float | None) -> None:
        self._telling, self._total, self._done = telling, total, 0.0

    def advance(self, steps: float = 1, **facts: str) -> None:
        self._done += steps
        if self._total:
            self._telling.tell(self._done / self._total)
