"""What other scripts share: a bundle that has seen a third of a data set, and looks at the rest.

The cases of a data set are cut in three by a fixed seed: *learned* cases train three networks,
*known* ones are what drift and quality are calibrated on, *new* ones are looked at in the end and
for nothing else. Whatever costs time is kept in a folder: the bundle, and one file for each look at
a case.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.bundle import Bundle, load_bundle
from medseg.continual.drift_observation import Observation, Observer
from medseg.dataset.description import DatasetDescription, read_case, read_case_label
from medseg.training.crossval import train
from medseg.training.run import RunSettings
from medseg.volume.volume import LabelMap, Volume

EPOCHS, FOLDS = 20, (0, 1, 2)


@dataclass(frozen=True)
class Thirds:
    """Ids of the cases."""

    learned: tuple[str, ...]
    known: tuple[str, ...]
    new: tuple[str, ...]


def thirds(described: DatasetDescription, seed: int = 0) -> Thirds:
    ids = np.array(sorted(case.id for case in described.cases))
    drawn = np.random.default_rng(seed).permutation(ids)
    parts = [tuple(sorted(map(str, part))) for part in np.array_split(drawn, 3)]
    return Thirds(*parts)


def trained(described: DatasetDescription, folder: Path) -> Bundle:
    """The bundle, trained if it is not there."""
    if (folder / "run" / "bundle").is_dir():
        return load_bundle(folder / "run" / "bundle")
    learned = set(thirds(described).learned)
    part = described.model_copy(
        update={"cases": tuple(case for case in described.cases if case.id in learned)}
    )
    settings = RunSettings(epochs=EPOCHS, folds=FOLDS, precision="bf16")
    return train(part, folder / "run", settings, resume=(folder / "run").is_dir())


class Looks:
    """Looks at cases, each kept on disk under its own name.

    Args:
        bundle: Whose networks look.
        described: The data set.
        folder: Where looks are kept.
    """

    def __init__(self, bundle: Bundle, described: DatasetDescription, folder: Path) -> None:
        self.described, self.folder = described, folder / "looks"
        self.observer = Observer(bundle)

    def volume(self, case_id: str) -> Volume:
        """The image of a case."""
        return read_case(self.described, self.described.case(case_id))

    def reference(self, case_id: str) -> LabelMap:
        """Its structures."""
        return read_case_label(self.described, self.described.case(case_id))

    def has(self, name: str) -> bool:
        """Whether a look is kept."""
        return (self.folder / f"{name}.npz").is_file()

    def plain(self, case_id: str) -> Observation:
        """A case as it is, with its Dice."""
        return self.at(case_id, lambda: self.volume(case_id), lambda: self.reference(case_id))

    def at(
        self,
        name: str,
        volume: Callable[[], Volume],
        reference: Callable[[], LabelMap] | None = None,
    ) -> Observation:
        """What is seen of a volume; from disk if it was looked at before."""
        path = self.folder / f"{name}.npz"
        if path.is_file():
            with np.load(path) as kept:
                return Observation(name, json.loads(str(kept["values"])), kept["embedding"])
        seen = self.observer.observe(name, volume(), reference() if reference else None)
        self.folder.mkdir(parents=True, exist_ok=True)
        np.savez(path, values=json.dumps(seen.values), embedding=seen.embedding)
        return seen
