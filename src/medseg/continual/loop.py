"""A loop that closes: new labels, a new version, a candidate, a verdict, and perhaps a new bundle.

    drift     is the pool still what the bundle in use knows?
    select    which of its cases are worth a doctor's time? Masks to correct are laid out
    labels    the corrected labels become a version of the data
    train     from the bundle in use, with old cases replayed so that they are not forgotten
    evaluate  both bundles on the frozen test set and on the new domain
    decide    by the written rule
    promote   the candidate is put in use, or the refusal is written down

What came of each step is in `loop.json`. A loop that was killed goes on with the step that was not
finished.
"""

from pathlib import Path

from medseg.continual.loop_state import (
    STATE_FILE,
    LoopSettings,
    LoopState,
    load_state,
    save_state,
)
from medseg.continual.loop_steps import DOING, Loop
from medseg.continual.registry import Registry
from medseg.continual.versioned import VersionedData
from medseg.errors import LoopError
from medseg.progress import SILENT, Progress


def run_loop(
    settings: LoopSettings,
    folder: Path,
    *,
    resume: bool = False,
    command: str = "",
    progress: Progress = SILENT,
) -> LoopState:
    """Begin a loop or go on with one, until its end or until labels are awaited.

    Args:
        settings: What is asked for.
        folder: Where the loop lies.
        resume: Whether to go on with the loop that is there.
        command: The command line, for the record of the training.
        progress: Told of all that is done.

    Returns:
        The state at the end.

    Raises:
        LoopError: If another loop is there, none is to go on with, or a step cannot be taken.
        MedsegError: Whatever a step raises; the loop can go on once the cause is gone.
    """
    state = _opened(settings, folder, resume=resume)
    while (step := state.next) is not None and not state.is_waiting:
        progress.note(f"Loop: {step}")
        outcome = DOING[step](Loop(folder, state, command, progress))
        state = state.model_copy(update={step: outcome})
        save_state(state, folder)
    return state


def _opened(settings: LoopSettings, folder: Path, *, resume: bool) -> LoopState:
    there = (folder / STATE_FILE).is_file()
    if resume:
        state = load_state(folder)
        state.require_same(settings)
        if state.settings != settings:
            state = state.model_copy(update={"settings": settings})
            save_state(state, folder)
        return state
    if there:
        raise LoopError(
            f"A loop has a folder of its own; {folder} holds one already.",
            received=STATE_FILE,
            cure="Choose another --out, or go on with that loop: --resume.",
        )
    registry = Registry(settings.bundles)
    registry.current()
    data = VersionedData(settings.data)
    data.find("latest")
    if not data.diff("latest", "now").is_empty:
        raise LoopError(
            "A loop begins with data that are in a version.",
            received="changes that are in none",
            cure=f'Keep them: medseg version commit -m "why" --data {settings.data}.',
        )
    state = LoopState(settings=settings, start=registry.current_name())
    save_state(state, folder)
    return state
