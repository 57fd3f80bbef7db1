"""Many cases: the next one is read and the last one written while one is computed.

One thread reads and one writes, each at most one case ahead or behind, so memory holds three cases
and no more. A single case, and any where the predictor has a bound on its memory, is read and
written in the thread that computes: what a thread of its own frees, no other one takes. What became
of each is kept in `predictions.json` beside the masks.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from medseg.allocator import (
    KEPT_BYTES,
    is_out_of_memory,
    release_freed_memory,
    resident_bytes,
)
from medseg.errors import CannotWrite, DicomError, MedsegError, WrongInput
from medseg.inference.inputs import CaseInput
from medseg.inference.masks import Format, MaskSettings, SegType, mask_name, write_mask
from medseg.inference.predict import Prediction, Predictor
from medseg.inference.record import CaseOutcome, Failure, Record, sources_of
from medseg.progress import SILENT, Progress
from medseg.volume.io import write_volume
from medseg.volume.volume import Volume


def predict_cases(
    inputs: Sequence[CaseInput],
    predictor: Predictor,
    out: Path,
    *,
    format: Format = "nifti",  # noqa: A002  the option's own name
    seg_type: SegType = "binary",
    measurements: bool = False,
    resume: bool = False,
    progress: Progress = SILENT,
) -> list[CaseOutcome]:
    """Predict cases and write one mask for each, under the case's own name.

    With attention, what each gate let through lies beside it: `NAME_attention_GATE.nii.gz`.

    A case that fails is recorded with the error's code and does not stop the others.

    Args:
        inputs: The cases; see `find_inputs`.
        predictor: The bundle.
        out: Folder for the masks and `predictions.json`.
        format: Of the masks.
        seg_type: How a DICOM-SEG stores its masks.
        measurements: Whether a report with the volumes (DICOM SR) lies beside each DICOM-SEG.
        resume: Whether masks of an earlier run are kept; see `Record.resume`.
        progress: Told after each case; of a single case, after each batch of windows.

    Returns:
        One outcome for each case, in the order of `inputs`.

    Raises:
        CannotWrite: If `predictions.json` cannot be written, or masks would lie among the images.
    """
    _require_apart(inputs, out)
    masks = MaskSettings(format, seg_type, measurements)
    record = Record.of(predictor, out, inputs, masks)
    if resume:
        record.resume()
        progress.note(f"{len(record.outcomes)} of {len(inputs)} cases were done before.")
    record.save()
    todo = [case for case in inputs if case.id not in record.outcomes]
    alone = len(inputs) == 1
    try:
        with (SILENT if alone else progress).task("cases", len(inputs)) as task:
            task.advance(len(record.outcomes))

            def keep(outcome: CaseOutcome) -> None:
                record.keep(outcome)
                task.advance(case=outcome.case)

            _run(todo, predictor, out, masks, keep, progress if alone else SILENT)
    finally:
        record.save()
    return record.ordered()


def _require_apart(inputs: Sequence[CaseInput], out: Path) -> None:
    """Pass if the masks get a folder of their own; a mask may have the name of its image."""
    for case in inputs:
        if out.resolve() in {path.resolve().parent for path in case.images}:
            raise CannotWrite(
                "Masks are kept apart from the images they are made of.",
                received=f"{out}, where the images of {case.id} lie",
                cure="Choose another folder with --out.",
            )


def _run(
    cases: Sequence[CaseInput],
    predictor: Predictor,
    out: Path,
    masks: MaskSettings,
    keep: Callable[[CaseOutcome], None],
    progress: Progress,
) -> None:
    """Read, predict and write the cases, and tell `keep` what became of each."""
    beside = 1 if predictor.memory_bytes is None and len(cases) > 1 else 0
    reads: dict[str, Callable[[], Volume]] = {}
    writes: list[Future[CaseOutcome]] = []
    kept_bytes = resident_bytes() + KEPT_BYTES
    with ThreadPoolExecutor(1, "read") as reading, ThreadPoolExecutor(1, "write") as writing:
        try:
            for n, case in enumerate(cases):
                for one in cases[n : n + beside + 1]:
                    if one.id not in reads:
                        reads[one.id] = reading.submit(one.read).result if beside else one.read
                try:
                    name = mask_name(case, masks.format)
                    prediction = predictor.predict_from(
                        partial(_taken, reads, case.id), progress=progress
                    )
                except Exception as error:
                    if not _is_of_the_case(error):
                        raise
                    keep(_failed(case, error))
                    continue
                finally:
                    reads.pop(case.id, None)
                while writes:
                    keep(writes.pop(0).result())
                work = partial(_write, case, prediction, predictor, out / name, masks)
                del prediction
                if beside:
                    writes.append(writing.submit(work))
                else:
                    keep(work())
                del work
                release_freed_memory(above_bytes=kept_bytes)
        finally:
            while writes:
                keep(writes.pop(0).result())


def _taken(reads: dict[str, Callable[[], Volume]], name: str) -> Volume:
    """A case as it was read; it is held here no longer."""
    return reads.pop(name)()


def _write(
    case: CaseInput,
    prediction: Prediction,
    predictor: Predictor,
    path: Path,
    masks: MaskSettings,
) -> CaseOutcome:
    """Write one mask and what gates let through, and say what became of it.

    The mask comes last: where it is, all is.
    """
    bundle, shown = predictor.bundle, []
    try:
        for name, volume in prediction.attention.volumes() if prediction.attention else ():
            place = path.with_name(f"{case.id}_attention_{name}.nii.gz")
            write_volume(volume, place)
            shown.append(place)
        version = bundle.weights_sha256[:16] or "unsaved"
        reports = write_mask(
            prediction.label_map, case, path, masks, algorithm=bundle.name, version=version
        )
    except Exception as error:
        for left in shown:
            left.unlink(missing_ok=True)
        if not _is_of_the_case(error):
            raise
        return _failed(case, error)
    return CaseOutcome(
        case=case.id,
        status="done",
        sources=sources_of(case),
        file=path.name,
        volumes_ml=prediction.volumes_ml,
        quality=prediction.quality,
        seconds=prediction.seconds,
        attention=tuple(one.name for one in shown),
        remarks=prediction.label_map.source.remarks,
        reports=tuple(one.name for one in reports),
    )


def _is_of_the_case(error: Exception) -> bool:
    """Whether one case can cause it while the others are well."""
    return isinstance(error, MedsegError | OSError) or is_out_of_memory(error)


def _failed(case: CaseInput, error: BaseException) -> CaseOutcome:
    """A failure; only a series that is no volume or of the wrong kind may be refused instead."""
    if isinstance(error, MedsegError):
        failure = Failure(code=error.code, message=str(error))
    elif isinstance(error, OSError):
        failure = Failure(code="system", message=f"The system refused: {error.strerror or error}.")
    else:
        failure = Failure(code="memory", message="There is not enough memory for this case.")
    may_be_refused = case.series is not None and isinstance(error, DicomError | WrongInput)
    return CaseOutcome(
        case=case.id,
        status="refused" if may_be_refused else "failed",
        sources=sources_of(case),
        error=failure,
    )
