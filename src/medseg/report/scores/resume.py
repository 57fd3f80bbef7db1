"""What an evaluation has already scored, kept so that one that was interrupted goes on."""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg import __version__
from medseg.files import write_text
from medseg.report.scores.pairs import Pair
from medseg.report.scores.score_one import NamedScores
from medseg.report.scores.settings import ScoreSettings
from medseg.report.scores.structures import Region
from medseg.volume.labels import Labels

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FOLDER = "unfinished"
"""Name of the folder, inside the one for the results, that holds the scores so far."""

_SECONDS = 5.0
"""How often they are written; quicker evaluations leave nothing behind."""


class Ledger:
    """Scored cases, by what they were made of.

    A case counts as scored only if its files have the size and time of change they had then, and
    settings, labels and version are the same. Every few seconds the cases since the last time are
    written as one more file, whole or not at all.
    """

    def __init__(self, out: Path) -> None:
        self._folder = out / FOLDER
        self._lock = threading.Lock()
        self._new: dict[str, Any] = {}
        self._written = time.monotonic()
        self._known = _read(self._folder)

    def get(self, key: str) -> NamedScores | None:
        """The scores of a case, if it was scored before; see `key_of`."""
        found = self._known.get(key)
        try:
            return None if found is None else _adapter().validate_python(found)
        except ValueError:
            return None

    def add(self, key: str, scores: NamedScores) -> None:
        """Keep the scores of a case; now and then they are written.

        Raises:
            CannotWrite: If they cannot be.
        """
        with self._lock:
            self._new[key] = asdict(scores)
            if time.monotonic() - self._written >= _SECONDS:
                self._write()

    def stop(self) -> None:
        """Write what is left, if the work took long enough to be worth it.

        Raises:
            CannotWrite: If it cannot be.
        """
        with self._lock:
            if self._new and time.monotonic() - self._written >= _SECONDS / 2:
                self._write()

    def _write(self) -> None:
        numbers = [int(path.stem) for path in self._folder.glob("*.json") if path.stem.isdecimal()]
        path = self._folder / f"{max(numbers, default=0) + 1:06d}.json"
        write_text(path, json.dumps(self._new))
        self._new, self._written = {}, time.monotonic()


def forget(out: Path) -> None:
    """Remove what was kept: the results are written."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)


def key_of(
    pair: Pair,
    labels: Labels | None,
    regions: Sequence[Region],
    settings: ScoreSettings,
    probabilities: Path | None,
) -> str:
    """A digest of all that the scores of a case follow from.

    Args:
        pair: Its files, which count by path, size and time of change.
        labels: The structures.
        regions: Unions of them.
        settings: The definitions.
        probabilities: A further file.
    """
    facts = [
        __version__,
        pair.case,
        [_stamp(path) for path in (pair.reference, pair.predicted, probabilities)],
        [pair.resample, pair.objects_of, pair.ignored_value],
        None if labels is None else [(label.value, label.name) for label in labels],
        [(region.name, region.values) for region in regions],
        asdict(settings),
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _stamp(path: Path | None) -> list[Any] | None:
    if path is None:
        return None
    try:
        facts = path.stat()
    except OSError:
        return [str(path.absolute())]
    return [str(path.absolute()), facts.st_size, facts.st_mtime_ns]


def _read(folder: Path) -> Mapping[str, Any]:
    """All cases of all files; a file that is no such file is as good as none."""
    known: dict[str, Any] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        known |= content if isinstance(content, dict) else {}
    return known


@lru_cache(maxsize=1)
def _adapter() -> "TypeAdapter[NamedScores]":
    """Builds the scores of a case from JSON again; loaded only where there are some."""
    from pydantic import TypeAdapter

    from medseg.metrics.calibration import Calibration
    from medseg.metrics.case import LabelScores
    from medseg.metrics.lesions import LesionScores, PanopticScores

    adapter: TypeAdapter[NamedScores] = TypeAdapter(NamedScores)
    kinds = (Calibration, LabelScores, LesionScores, PanopticScores)
    adapter.rebuild(_types_namespace={kind.__name__: kind for kind in kinds})
    return adapter
