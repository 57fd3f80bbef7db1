"""What is noted of each case that a bundle meets: numbers by name, and an embedding."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from medseg.bundle import Bundle
from medseg.errors import MedsegError
from medseg.files import write_text
from medseg.inference.engine import Device
from medseg.inference.foretelling import foretold
from medseg.inference.inputs import CaseInput
from medseg.inference.opinions import Examination, Examiner
from medseg.inference.quality_model import QualityModel, evidence_of, read_quality_model
from medseg.metrics.overlap import Overlap
from medseg.progress import SILENT, Progress
from medseg.types import FloatArray
from medseg.volume.io import read_label_map
from medseg.volume.placing import place
from medseg.volume.volume import LabelMap, Volume

LOG_FILE = "observations.jsonl"

DICE = "reference.dice"
"""Name of the mean Dice, where a reference is known."""

PREDICTED = "mask.predicted_dice"
"""Name of the Dice that is predicted without one."""


NONE_KNOWN: Mapping[str, Path] = MappingProxyType({})
"""No references."""


@dataclass(frozen=True, eq=False)
class Observation:
    """One case.

    Attributes:
        case: Its name.
        values: Numbers by name: `image.` what the image looks like, `mask.` what was found in it,
            `reference.` how right that is.
        embedding: What the encoder makes of it, shape (E,).
    """

    case: str
    values: dict[str, float]
    embedding: FloatArray


@dataclass(frozen=True)
class Unobserved:
    """A case that could not be looked at.

    Attributes:
        case: Its name.
        code: The error's code.
        message: Its sentence.
    """

    case: str
    code: str
    message: str


class Observer:
    """A bundle that looks at cases.

    Args:
        bundle: Whose networks look; if its folder holds a model of quality, Dice is predicted.
        device: Where they run.
    """

    def __init__(self, bundle: Bundle, *, device: Device = "auto") -> None:
        self.bundle = bundle
        self.examiner = Examiner(bundle, device=device)
        self.quality_model: QualityModel | None = read_quality_model(bundle)

    def observe(self, case: str, volume: Volume, reference: LabelMap | None = None) -> Observation:
        """Look at one case.

        Args:
            case: Its name.
            volume: The image.
            reference: Its structures, if they are known, on the same voxels.

        Raises:
            WrongInput: If the bundle was not made for such a case.
            DatasetError: If a voxel holds no finite number.
            DifferentSpace: If image and reference lie on different grids.
        """
        opinions = self.examiner.ask(volume)
        seen = self.examiner.together(opinions)
        values = self.values(seen, reference)
        if self.quality_model is not None:
            values[PREDICTED] = foretold(self.quality_model, self.examiner, opinions, seen)
        return Observation(case, values, seen.embedding)

    def values(self, seen: Examination, reference: LabelMap | None = None) -> dict[str, float]:
        """All numbers of an examination but what is foretold."""
        evidence = evidence_of(seen)
        found = {f"image.{name}": value for name, value in seen.appearance.items()}
        found |= {f"mask.{name}": value for name, value in evidence.features.items()}
        for name, volume_ml in seen.volumes_ml.items():
            found[f"mask.volume_ml.{name}"] = volume_ml
            found[f"mask.parts.{name}"] = float(seen.components[name])
        if reference is not None:
            found[DICE] = mean_dice(seen.label_map, reference)
        return found


def mean_dice(label_map: LabelMap, reference: LabelMap) -> float:
    """Mean Dice over the labels of a mask; a label that neither has counts 1.

    Raises:
        DifferentSpace: If the masks do not share their voxels.
    """
    true = place(reference, label_map.geometry)
    scores = []
    for label in label_map.labels:
        found = label_map.array == label.value
        there = true.array == label.value
        both = int((found & there).sum())
        scores.append(Overlap(int(found.sum()), int(there.sum()), both).dice)
    return float(np.mean(scores))


class ObservationLog:
    """Observations kept in a folder, one line each, so that no case is looked at twice.

    A case counts as the same while the sizes and times of its files are.

    Args:
        folder: Where `observations.jsonl` lies.
        bundle: Lines of other weights are not used.
    """

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        self.path, self._weights = folder / LOG_FILE, bundle.weights_sha256
        self._lines: dict[str, str] = {}
        self._known: dict[str, Observation] = {}
        if self.path.is_file():
            for line in self.path.read_text("utf-8").splitlines():
                self._take(line)

    def find(self, case: CaseInput, label: Path | None = None) -> Observation | None:
        """The observation of a case whose files, the label's too, have not changed since."""
        return self._known.get(_key(case, label))

    def keep(self, case: CaseInput, label: Path | None, observation: Observation) -> None:
        """Add one, and write the file, whole or not at all.

        Raises:
            CannotWrite: If it cannot be written.
        """
        line = json.dumps(
            {
                "key": _key(case, label),
                "weights": self._weights,
                "case": observation.case,
                "values": observation.values,
                "embedding": [float(f"{value:.6g}") for value in observation.embedding],
            }
        )
        self._take(line)
        write_text(self.path, "\n".join(self._lines.values()) + "\n")

    def _take(self, line: str) -> None:
        """A line that cannot be read holds nothing: its case is looked at again."""
        try:
            found = json.loads(line)
            if found["weights"] != self._weights:
                return
            embedding = np.array(found["embedding"], np.float32)
            known = Observation(found["case"], found["values"], embedding)
            self._known[found["key"]], self._lines[found["key"]] = known, line
        except (ValueError, KeyError, TypeError):
            return


def observe_all(
    cases: Iterable[CaseInput],
    observer: Observer,
    *,
    references: Mapping[str, Path] = NONE_KNOWN,
    log: ObservationLog | None = None,
    progress: Progress = SILENT,
) -> Iterator[Observation | Unobserved]:
    """Look at cases in their order; one that cannot be looked at does not stop the others.

    Args:
        cases: What to look at.
        observer: Who looks.
        references: Label files by the name of the case, where they are known.
        log: What was seen before; new observations are added.
        progress: Told after each case.
    """
    cases = list(cases)
    with progress.task("cases", len(cases)) as task:
        for case in cases:
            found: Observation | Unobserved
            try:
                found = _observed(case, observer, references.get(case.id), log)
            except MedsegError as error:
                found = Unobserved(case.id, error.code, str(error))
            task.advance(case=case.id)
            yield found


def _observed(
    case: CaseInput, observer: Observer, label: Path | None, log: ObservationLog | None
) -> Observation:
    """From the log, or by looking."""
    known = log.find(case, label) if log is not None else None
    if known is not None:
        return known
    reference = None if label is None else read_label_map(label, observer.bundle.labels)
    found = observer.observe(case.id, case.read(), reference)
    if log is not None:
        log.keep(case, label, found)
    return found


def _key(case: CaseInput, label: Path | None) -> str:
    """A case and what its files were when it was looked at."""
    paths = case.images if label is None else (*case.images, label)
    facts = [
        (str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns)
        for path in paths
        if path.exists()
    ]
    return json.dumps([case.id, facts])
