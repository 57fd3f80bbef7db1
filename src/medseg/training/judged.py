"""What became of a held-out case: its mask, its Dice, and what might have made the mask better.

Masks and records are written as soon as a case is judged, the record last, so that whoever is
interrupted judges no case twice.
"""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from medseg.files import atomic_file
from medseg.specs import FROZEN
from medseg.specs.postprocess import PostprocessSpec
from medseg.types import FloatArray
from medseg.volume.io import write_label_map
from medseg.volume.volume import LabelMap


class Trial(BaseModel):
    """One step of post-processing, tried on one mask.

    Attributes:
        step: What was done.
        before: Dice of its structure without it; 1 where it is neither there nor predicted.
        after: The same with it.
    """

    model_config = FROZEN

    step: PostprocessSpec
    before: float
    after: float


class Judgement(BaseModel):
    """What a held-out case scored.

    Attributes:
        case: The case.
        fold: The fold that did not train on it.
        dice: Dice by name of the structure; None where it is neither there nor predicted.
        trials: Steps of post-processing and what each would have changed.
    """

    model_config = FROZEN

    case: str
    fold: int
    dice: dict[str, float | None]
    trials: tuple[Trial, ...] = ()

    @property
    def mean(self) -> float:
        """Mean Dice of the structures; one that is rightly not found counts 1."""
        return float(np.mean([1.0 if value is None else value for value in self.dice.values()]))


@dataclass(frozen=True, eq=False)
class Doubts:
    """A sample of voxels near the structures, and how sure a network was of each.

    Attributes:
        probabilities: Of the heaviest classes, float32, shape (voxels, S); 0 is an empty slot.
        truth: The slot of the true class, int8, shape (voxels,); -1 where it has none.
    """

    probabilities: FloatArray
    truth: npt.NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Judged:
    """All that is kept of a held-out case beside its mask.

    Attributes:
        judgement: Its scores.
        doubts: How sure the network was; None where several opinions were averaged.
    """

    judgement: Judgement
    doubts: Doubts | None = None


class OutOfFold:
    """Masks of held-out cases, and what is known of them.

    Args:
        masks: Folder of the masks, `CASE.nii.gz`; it holds nothing else.
        records: Folder of everything else.
    """

    def __init__(self, masks: Path, records: Path) -> None:
        self.masks, self.records = masks, records

    def mask(self, case_id: str) -> Path:
        """File of a case's mask."""
        return self.masks / f"{case_id}.nii.gz"

    def keep(self, judged: Judged, mask: LabelMap) -> None:
        """Write a mask and what is known of it.

        Raises:
            CannotWrite: If they cannot be written.
        """
        write_label_map(mask, self.mask(judged.judgement.case))
        doubts = judged.doubts or Doubts(np.zeros((0, 1), np.float32), np.zeros(0, np.int8))
        record = self._record(judged.judgement.case)
        with atomic_file(record) as temporary, temporary.open("wb") as stream:
            np.savez(
                stream,
                judgement=np.array(judged.judgement.model_dump_json()),
                has_doubts=np.array(judged.doubts is not None),
                probabilities=doubts.probabilities,
                truth=doubts.truth,
            )

    def find(self, case_id: str) -> Judged | None:
        """What an earlier run knew of a case; None if it was not judged or the record is broken."""
        if not self.mask(case_id).is_file():
            return None
        try:
            with np.load(self._record(case_id), allow_pickle=False) as record:
                judgement = Judgement.model_validate_json(str(record["judgement"]))
                doubts = Doubts(record["probabilities"], record["truth"])
                return Judged(judgement, doubts if record["has_doubts"] else None)
        except (OSError, EOFError, ValueError, KeyError, BadZipFile):
            return None

    def _record(self, case_id: str) -> Path:
        return self.records / f"{quote(case_id, safe='')}.npz"
