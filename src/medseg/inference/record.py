"""`predictions.json`: what became of each case, and with which bundle and settings."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from medseg import __version__
from medseg.files import write_text
from medseg.inference.inputs import CaseInput
from medseg.inference.masks import MaskSettings
from medseg.inference.predict import Predictor
from medseg.inference.quality import Quality
from medseg.specs import FROZEN
from medseg.volume.remarks import Remark

RECORD_FILE = "predictions.json"

SAVE_EVERY_SECONDS = 2.0
"""How much work a killed run may have to do again, beside its last case."""

Status = Literal["done", "refused", "failed"]
"""Refused: a series that is no volume or not for this bundle, beside one of its study that is."""


class Failure(BaseModel):
    """Why there is no mask.

    Attributes:
        code: The error's code.
        message: Its sentence.
    """

    model_config = FROZEN

    code: str
    message: str


class CaseOutcome(BaseModel):
    """What became of one case.

    Attributes:
        case: Its name.
        status: Whether there is a mask.
        sources: The files it was read from; for DICOM the folders they lie in.
        file: Name of the mask in the output folder; None without one.
        volumes_ml: Volume of each structure by name.
        quality: How far to trust the mask.
        seconds: Wall time of the computation.
        error: Why there is no mask.
        attention: Names of the files that show what each attention gate let through.
        remarks: What reading the case took, such as slices that were interpolated.
        reports: Names of files with the volumes, beside the mask.
    """

    model_config = FROZEN

    case: str
    status: Status
    sources: tuple[str, ...] = ()
    file: str | None = None
    volumes_ml: dict[str, float] = {}
    quality: Quality | None = None
    seconds: float = 0.0
    error: Failure | None = None
    attention: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()
    reports: tuple[str, ...] = ()


@dataclass
class Record:
    """The record of one run.

    Attributes:
        folder: Where the masks and the record lie.
        cases: All cases of the run.
        settings: What the masks depend on, ready for JSON: the head of the file.
        outcomes: What became of each case so far, by name.
        saved_at: When it was last written, on the monotonic clock.
    """

    folder: Path
    cases: Sequence[CaseInput]
    settings: dict[str, Any]
    outcomes: dict[str, CaseOutcome] = field(default_factory=dict)
    saved_at: float = 0.0

    @classmethod
    def of(
        cls, predictor: Predictor, folder: Path, cases: Sequence[CaseInput], masks: MaskSettings
    ) -> "Record":
        """A record without outcomes."""
        bundle = predictor.bundle
        settings = {
            "medseg_version": __version__,
            "bundle": {"name": bundle.name, "weights_sha256": bundle.weights_sha256},
            "labels": {label.name: label.value for label in bundle.labels},
            "ignored_value": bundle.plan.ignored_value,
            "regions": {region.name: list(region.values) for region in bundle.plan.regions},
            "engine": predictor.engines[0].name,
            "precision": predictor.precision,
            "mirrors": predictor.mirrors,
            "format": masks.format,
            "seg_type": masks.seg_type,
            "measurements": masks.measurements,
            "allow_gaps": any(case.series is not None and case.series.allow_gaps for case in cases),
            "attention": list(predictor.gate_names),
        }
        return cls(folder, cases, settings)

    def keep(self, outcome: CaseOutcome) -> None:
        """Add an outcome; what was kept for a while is saved too."""
        self.outcomes[outcome.case] = outcome
        if time.monotonic() - self.saved_at > SAVE_EVERY_SECONDS:
            self.save()

    def ordered(self) -> list[CaseOutcome]:
        """Outcomes so far in the order of the cases; no series is refused beside failures only."""
        done = {
            case.series.study_uid
            for case in self.cases
            if case.series is not None and self._status(case) == "done"
        }
        found = []
        for case in self.cases:
            outcome = self.outcomes.get(case.id)
            if outcome is None:
                continue
            if outcome.status == "refused" and (case.series and case.series.study_uid) not in done:
                outcome = outcome.model_copy(update={"status": "failed"})
            found.append(outcome)
        return found

    def save(self) -> None:
        """Write `predictions.json`, whole or not at all.

        Raises:
            CannotWrite: If it cannot be written.
        """
        cases = [x.model_dump(mode="json", exclude_defaults=True) for x in self.ordered()]
        content = json.dumps({**self.settings, "cases": cases}, indent=1)
        write_text(self.folder / RECORD_FILE, content + "\n")
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        """Keep the outcomes of an earlier run that need not be made again.

        They were done by the same bundle (as it was saved) with the same settings from the same
        files, and no file is newer than its mask. A record that cannot be read holds none.
        """
        if not self.settings["bundle"]["weights_sha256"]:
            return
        try:
            earlier = json.loads((self.folder / RECORD_FILE).read_text("utf-8"))
            outcomes = [CaseOutcome.model_validate(case) for case in earlier.pop("cases")]
        except (OSError, ValueError, KeyError, AttributeError):
            return
        if earlier != self.settings:
            return
        done = {outcome.case: outcome for outcome in outcomes if outcome.status == "done"}
        for case in self.cases:
            if case.id in done and self._is_fresh(case, done[case.id]):
                self.keep(done[case.id])

    def _status(self, case: CaseInput) -> Status | None:
        outcome = self.outcomes.get(case.id)
        return outcome.status if outcome else None

    def _is_fresh(self, case: CaseInput, outcome: CaseOutcome) -> bool:
        mask = self.folder / str(outcome.file)
        beside = (*outcome.attention, *outcome.reports)
        files = (mask, *(self.folder / name for name in beside))
        if not all(path.is_file() for path in files) or outcome.sources != sources_of(case):
            return False
        made = mask.stat().st_mtime
        return all(path.stat().st_mtime <= made for path in case.images)


def sources_of(case: CaseInput) -> tuple[str, ...]:
    """Absolute paths of the files, or for DICOM of the folders they lie in."""
    paths = case.images if case.series is None else sorted({p.parent for p in case.images})
    return tuple(str(path.resolve()) for path in paths)
