"""Bundles that were in use, the one that is, and how to go back: `medseg loop rollback`."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from medseg.bundle import Bundle, load_bundle
from medseg.errors import LoopError, UnknownBundle
from medseg.files import atomic_folder, sha256, write_text
from medseg.promoted import POINTER_FILE, point_to, resolve_current
from medseg.specs import FROZEN

HISTORY_FILE = "history.json"

_DIGITS = 12

Action = Literal["promoted", "kept", "rolled back"]


class Entry(BaseModel):
    """One decision.

    Attributes:
        action: What was done.
        bundle: Name of the bundle's folder that is in use afterwards.
        candidate: Of a decision to keep: identity of the bundle that was refused.
        why: The reasons, one sentence each.
        data_version: Digest of the data of the bundle, or of the candidate; "" where not known.
        when: Date and time in UTC, ISO 8601.
        run: Folder of the loop that decided; "" for a person.
    """

    model_config = FROZEN

    action: Action
    bundle: str
    candidate: str = ""
    why: tuple[str, ...] = ()
    data_version: str = ""
    when: str
    run: str = ""


class _HistoryFile(BaseModel):
    model_config = FROZEN

    format: Literal[1] = 1
    entries: tuple[Entry, ...] = ()


class Registry:
    """A folder of bundles of which one is in use; see `medseg.promoted`.

    Args:
        folder: The folder, which may not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def history(self) -> tuple[Entry, ...]:
        """All decisions, the first one first.

        Raises:
            LoopError: If the file of the history is none.
        """
        file = self.folder / HISTORY_FILE
        if not file.is_file():
            return ()
        try:
            return _HistoryFile.model_validate_json(file.read_bytes()).entries
        except ValidationError as error:
            raise LoopError(
                f"{file} must be the history of a folder of bundles.",
                received=error.errors()[0]["msg"],
                cure="Restore it, or move it away to begin a new one.",
            ) from error

    def current(self) -> Bundle:
        """The bundle in use.

        Raises:
            LoopError: If none is.
            BundleError: If it cannot be read.
        """
        if not (self.folder / POINTER_FILE).is_file():
            raise LoopError(
                "One bundle of a folder is in use.",
                received=f"none in {self.folder}",
                cure=f"Put one there: medseg loop promote BUNDLE --bundles {self.folder}.",
            )
        return load_bundle(resolve_current(self.folder))

    def current_name(self) -> str:
        """Name of the folder of the bundle in use."""
        return resolve_current(self.folder).name

    def promote(self, bundle: Bundle, *, why: tuple[str, ...] = (), run: str = "") -> str:
        """Copy a bundle into the folder and put it in use.

        Doing it again after an interruption has the same end.

        Args:
            bundle: A saved bundle.
            why: The reasons, one sentence each.
            run: Folder of the loop that decided; "" for a person.

        Returns:
            Name of its folder.

        Raises:
            LoopError: If it was never saved.
            CannotWrite: If the folder cannot be written.
        """
        if bundle.folder is None:
            raise LoopError("A bundle is saved before it is put in use.", received=bundle.identity)
        name = f"{bundle.name}-{bundle.weights_sha256[:_DIGITS]}".replace("/", "_")
        if _digests(bundle.folder) != _digests(self.folder / name):
            with atomic_folder(self.folder / name) as temporary:
                shutil.copytree(bundle.folder, temporary, dirs_exist_ok=True)
        version = bundle.provenance.data_version
        self._enter(
            Entry(action="promoted", bundle=name, why=why, data_version=version, when=_now(),
                  run=run)
        )  # fmt: skip
        point_to(self.folder, name)
        return name

    def keep(self, candidate: Bundle, *, why: tuple[str, ...], run: str = "") -> None:
        """Write down that a candidate was refused."""
        self._enter(
            Entry(
                action="kept", bundle=self.current_name(),
                candidate=candidate.identity, why=why,
                data_version=candidate.provenance.data_version, when=_now(), run=run,
            )
        )  # fmt: skip

    def roll_back(self, to: str = "", *, why: tuple[str, ...] = ()) -> str:
        """Put an earlier bundle in use again.

        Args:
            to: Name of its folder; the one that was in use before where not given.
            why: The reasons, one sentence each.

        Returns:
            Name of the bundle's folder.

        Raises:
            LoopError: If there is no earlier one.
            UnknownBundle: If there is none of this name.
        """
        now = self.current_name()
        name = to or self._before(now)
        if not (self.folder / name).is_dir():
            known = sorted({entry.bundle for entry in self.history()})
            raise UnknownBundle(
                "A bundle that was in use lies in the folder.",
                received=name,
                cure=f"Known: {', '.join(known) or 'none'}.",
            )
        version = load_bundle(self.folder / name).provenance.data_version
        self._enter(
            Entry(action="rolled back", bundle=name, why=why, data_version=version, when=_now())
        )
        point_to(self.folder, name)
        return name

    def _before(self, now: str) -> str:
        """What was in use before, going back a step further with each rolling back."""
        used: list[str] = []
        for entry in self.history():
            if entry.action == "rolled back" and entry.bundle in used:
                used = used[: used.index(entry.bundle) + 1]
            elif entry.action != "kept" and (not used or used[-1] != entry.bundle):
                used.append(entry.bundle)
        while used and used[-1] == now:
            used.pop()
        if not used:
            raise LoopError(
                "Rolling back needs a bundle that was in use before.",
                received=f"only {now}",
                cure="Name one with --to, or promote another.",
            )
        return used[-1]

    def _enter(self, entry: Entry) -> None:
        """Add an entry; the same decision of the same loop is not entered twice."""
        entries = self.history()
        if entries and entry.run:
            last = entries[-1].model_copy(update={"when": entry.when})
            if last == entry:
                return
        content = _HistoryFile(entries=(*entries, entry))
        write_text(self.folder / HISTORY_FILE, content.model_dump_json(indent=1) + "\n")


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of all files of a folder by name; none where there is no folder."""
    return {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
