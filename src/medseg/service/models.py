"""The bundles that the service may use, looked up again when they change on the disk."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.bundle_folder import DESCRIPTION_FILE, find_bundle, read_description
from medseg.errors import NotHeld
from medseg.volume.labels import colour_of


@dataclass(frozen=True)
class Model:
    """A bundle as it lies on the disk now.

    Attributes:
        name: By which it is asked for.
        folder: Where it lies.
        digest: SHA-256 of its description, which holds that of its weights.
        dataset: What it learned from.
        modality: Of its first channel, in DICOM's word; empty where that is not known.
        channels: How many images it sees.
        labels: Name, value and colour of each structure.
    """

    name: str
    folder: Path
    digest: str
    dataset: str
    modality: str
    channels: int
    labels: tuple[dict[str, Any], ...]


class Models:
    """The bundles that may be asked for.

    Args:
        names: Names or folders; the first is the default.

    Raises:
        UnknownBundle: If one is not there.
        CorruptBundle: If one is not as it was written.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._read: dict[tuple[Path, int], Model] = {}
        for name in self.names:
            self.get(name)

    def get(self, name: str | None = None) -> Model:
        """A bundle by its name, or the default.

        Raises:
            NotHeld: If it is none that may be asked for.
            UnknownBundle: If it is no longer there.
            CorruptBundle: If it is not as it was written.
        """
        wanted = self.names[0] if name is None else name
        if wanted not in self.names:
            raise NotHeld(
                "A model is one of those that the service was started with.",
                received="another name",
                cure=f"Choose one of: {', '.join(self.names)}.",
            )
        folder = find_bundle(wanted).resolve()
        place = folder, (folder / DESCRIPTION_FILE).stat().st_mtime_ns
        if place not in self._read:
            self._read[place] = _described(wanted, folder)
        return self._read[place]

    def every(self) -> tuple[Model, ...]:
        """All that may be asked for."""
        return tuple(self.get(name) for name in self.names)


def _described(name: str, folder: Path) -> Model:
    description = read_description(folder)
    plan = description.plan
    return Model(
        name=name,
        folder=folder,
        digest=hashlib.sha256((folder / DESCRIPTION_FILE).read_bytes()).hexdigest(),
        dataset=plan.dataset,
        modality=_dicom_word(plan.channels[0].modality),
        channels=len(plan.channels),
        labels=tuple(
            {"name": label.name, "value": label.value, "colour": colour_of(plan.labels, label)}
            for label in plan.labels
        ),
    )


def _dicom_word(modality: str) -> str:
    return {"MRI": "MR", "PET": "PT"}.get(modality.upper(), modality.upper())
