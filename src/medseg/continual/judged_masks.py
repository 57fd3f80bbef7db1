"""Judged masks on disk, so that whoever is interrupted judges no case twice."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from medseg.files import write_text
from medseg.inference.quality_model import JudgedMask, QualityEvidence


class JudgedMasks:
    """The masks of each case, under a key that says all that they depend on.

    Args:
        path: File of one line a case, which is written anew after each; None keeps nothing.
        stamp: Of whatever else they depend on: weights, data. Lines of another stamp are not used.
    """

    def __init__(self, path: Path | None = None, stamp: str = "") -> None:
        self._path, self._stamp = path, stamp
        self._lines: dict[str, str] = {}
        if path is not None and path.is_file():
            for line in path.read_text("utf-8").splitlines():
                self._take(line)

    def of(self, key: str, judge: Callable[[], Iterable[JudgedMask]]) -> list[JudgedMask]:
        """The masks of a case: those that are kept, or those that it is judged by now.

        Raises:
            CannotWrite: If they cannot be written.
        """
        if key not in self._lines:
            masks = [_plain(mask) for mask in judge()]
            line = json.dumps({"key": key, "stamp": self._stamp, "masks": masks})
            self._lines[key] = line
            if self._path is not None:
                write_text(self._path, "\n".join(self._lines.values()) + "\n")
        return [_mask(one) for one in json.loads(self._lines[key])["masks"]]

    def forget(self) -> None:
        """Remove the file."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _take(self, line: str) -> None:
        """A line that cannot be read holds nothing: its case is judged again."""
        try:
            found = json.loads(line)
            masks = [_mask(one) for one in found["masks"]]
            if masks and found["stamp"] == self._stamp:
                self._lines[str(found["key"])] = line
        except (ValueError, KeyError, TypeError):
            return


def _plain(mask: JudgedMask) -> dict[str, object]:
    return {
        "case": mask.case,
        "is_copy": mask.is_copy,
        "features": dict(mask.evidence.features),
        "volumes_ml": dict(mask.evidence.volumes_ml),
        "appearance": dict(mask.evidence.appearance),
        "dice": mask.dice,
    }


def _mask(found: dict[str, object]) -> JudgedMask:
    """Back from a line.

    Raises:
        KeyError: If a part is missing.
        TypeError, ValueError: If a part is of another kind.
    """
    evidence = QualityEvidence(*(_numbers(found[name]) for name in QualityEvidence._fields))
    dice, is_copy = found["dice"], found["is_copy"]
    if not isinstance(dice, float | int) or not isinstance(is_copy, bool):
        raise TypeError("a Dice is a number, and a copy is one or not")
    return JudgedMask(str(found["case"]), is_copy, evidence, float(dice))


def _numbers(found: object) -> dict[str, float]:
    if not isinstance(found, dict):
        raise TypeError("numbers have names")
    return {str(name): float(value) for name, value in found.items()}
