"""What a bundle was trained on, and whether that is still at hand."""

from typing import NamedTuple

from medseg.bundle_file import Provenance
from medseg.continual.history import Version
from medseg.continual.versioned import VersionedData
from medseg.progress import SILENT, Progress


class Standing(NamedTuple):
    """What a bundle was trained on, and whether that is still at hand.

    Attributes:
        version: The version that its provenance names; None where none of that name is here.
        named: What the provenance says; "" where it says nothing.
        missing: Cases that it learned from and that are not at hand.
        changed: Cases that it learned from and that differ from that version.
    """

    version: Version | None
    named: str
    missing: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def matches(self) -> bool:
        """Whether every case that it learned from is at hand as it was."""
        return self.version is not None and not self.missing and not self.changed


def standing_of(
    data: VersionedData, origin: Provenance, *, verify: bool = False, progress: Progress = SILENT
) -> Standing:
    """Look a bundle's data up among the versions, and compare them with the files at hand.

    Args:
        data: The versions.
        origin: Of the bundle.
        verify: Whether every byte is read, whatever times of files say.
        progress: Told after each case.

    Raises:
        VersionError: If a version has no manifest.
    """
    named = origin.data_version
    known = [one for one in data.versions() if named and data.manifest(one).digest == named]
    if not known:
        return Standing(None, named, (), ())
    then = data.manifest(known[-1]).by_id
    now = data.now(verify=verify, progress=progress).by_id
    seen = [case for case in origin.training_cases if case in then]
    return Standing(
        known[-1],
        named,
        tuple(case for case in seen if case not in now),
        tuple(
            case
            for case in seen
            if case in now
            and (now[case].image, now[case].label) != (then[case].image, then[case].label)
        ),
    )
