"""Many cases: the next one is read and the last one written while one is computed.

One thread reads and one writes, each at most one case ahead or behind, so memory holds three cases
and no more. What became of each is kept in `predictions.json` beside the masks.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Literal

import torch

from medseg.errors import CannotWrite, DicomError, InvalidSegmentation, MedsegError, WrongInput
from medseg.inference.inputs import CaseInput
from medseg.inference.predict import Prediction, Predictor
from medseg.inference.record import CaseOutcome, Failure, Record, sources_of
from medseg.progress import SILENT, Progress
from medseg.volume.io import stem_of, write_label_map, write_volume
from medseg.volume.volume import Volume

Format = Literal["nifti", "dicom-seg", "same"]
"""Of the masks; "same" is the input's own (DICOM gives DICOM-SEG, JPEG gives PNG)."""

_OF_THE_CASE = (MedsegError, OSError, MemoryError, torch.OutOfMemoryError)
"""What one case can cause while the others are well."""


def predict_cases(
    inputs: Sequence[CaseInput],
    predictor: Predictor,
    out: Path,
    *,
    format: Format = "nifti",  # noqa: A002  the option's own name
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
        resume: Whether masks of an earlier run are kept; see `Record.resume`.
        progress: Told after each case; of a single case, after each batch of windows.

    Returns:
        One outcome for each case, in the order of `inputs`.

    Raises:
        CannotWrite: If `predictions.json` cannot be written, or masks would lie among the images.
    """
    _require_apart(inputs, out)
    record = Record.of(predictor, out, inputs, format)
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

            _run(todo, predictor, out, format, keep, progress if alone else SILENT)
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
    format: Format,  # noqa: A002
    keep: Callable[[CaseOutcome], None],
    progress: Progress,
) -> None:
    """Read, predict and write the cases, and tell `keep` what became of each."""
    with ThreadPoolExecutor(1, "read") as reading, ThreadPoolExecutor(1, "write") as writing:
        last: Future[CaseOutcome] | None = None
        try:
            for case, volume in _read_ahead(cases, reading):
                try:
                    name = mask_name(case, format)
                    prediction = predictor.predict(volume.result(), progress=progress)
                except _OF_THE_CASE as error:
                    keep(_failed(case, error))
                    continue
                if last is not None:
                    keep(last.result())
                last = writing.submit(_write, case, prediction, predictor, out / name)
        finally:
            if last is not None:
                keep(last.result())


def _read_ahead(
    cases: Sequence[CaseInput], pool: Executor
) -> Iterator[tuple[CaseInput, Future[Volume]]]:
    """Each case with its volume; the one after it is being read meanwhile."""
    ahead = [pool.submit(case.read) for case in cases[:1]]
    for n, case in enumerate(cases):
        volume = ahead.pop()
        wait([volume])
        ahead += [pool.submit(following.read) for following in cases[n + 1 : n + 2]]
        yield case, volume


def mask_name(case: CaseInput, format: Format) -> str:  # noqa: A002
    """File name of a case's mask.

    Raises:
        InvalidSegmentation: If a DICOM-SEG is asked for and the case is no DICOM series.
    """
    if format == "dicom-seg" and case.series is None:
        raise InvalidSegmentation(
            "A DICOM-SEG refers to the DICOM series that it was made from.",
            received=f"the file {case.images[0].name}",
            cure="Predict the DICOM folder, or choose --format nifti.",
        )
    if format == "nifti":
        return f"{case.id}.nii.gz"
    if case.series is not None:
        return f"{case.id}.dcm"
    suffix = case.images[0].name[len(stem_of(case.images[0])) :]
    return case.id + (".png" if suffix.lower() in (".jpg", ".jpeg") else suffix)


def _write(
    case: CaseInput, prediction: Prediction, predictor: Predictor, path: Path
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
        if path.suffix == ".dcm" and case.series is not None:
            from medseg.volume.dicom_seg import write_segmentation  # highdicom is slow to load

            version = bundle.weights_sha256[:16] or "unsaved"
            write_segmentation(
                prediction.label_map, case.series, path, algorithm=bundle.name, version=version
            )
        else:
            write_label_map(prediction.label_map, path)
    except _OF_THE_CASE as error:
        for left in shown:
            left.unlink(missing_ok=True)
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
    )


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
