"""A small network that learns from a large one, beside its control: the same without a teacher."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from medseg.bundle import Bundle
from medseg.compression.export import MAX_DICE_LOSS, ExportSettings, export
from medseg.compression.imitation import ImitationSpec
from medseg.compression.lesson_plan import paced, steps_within
from medseg.compression.patches import require_same_kind
from medseg.compression.standings import Difference, Standing, difference, standings
from medseg.compression.students import student_of, student_plan
from medseg.compression.teacher import Teacher, looking
from medseg.dataset.description import Case, DatasetDescription, read_case
from medseg.dataset.folds import holdout
from medseg.dataset.plan import Plan, load_plan
from medseg.errors import BudgetTooShort, EngineDiffers
from medseg.files import write_text
from medseg.inference.engines import EngineName
from medseg.inference.predict import Predictor
from medseg.progress import SILENT, Progress
from medseg.specs import FROZEN
from medseg.training.crossval import train
from medseg.training.module import Precision
from medseg.training.prepare import Split
from medseg.training.probe import Device, choose_device
from medseg.training.run import RunFolder, RunSettings
from medseg.training.schedule import Clock, command_clock
from medseg.volume.io import write_label_map

RECORD_FILE, CONTROL = "distillation.json", "control"

TEACHER_NAME, STUDENT_NAME, CONTROL_NAME = "teacher", "student", "the same without a teacher"

_SHARE = 0.2
"""Of the budget: the most that judging may take, and the most that labelling may take."""

_MARGIN = 1.3
"""Time that is kept for judging: so many times its estimate."""


@dataclass(frozen=True)
class DistillSettings:
    """What is wanted.

    Attributes:
        student: Kind of network and width, such as "lite" or "plain_unet@0.5".
        seconds: Wall time of both trainings and of judging; None when `epochs` counts.
        epochs: Passes of the student over its cases, instead.
        imitation: What is imitated.
        teacher_engine: What looks at batches for the teacher; see `teacher.looking`.
        unlabelled: Whether cases without a label are learned from, labelled by the teacher.
        quantise: Whether the student is then quantised to INT8 for OpenVINO; this comes on top of
            the time.
        cases: Whole cases that judge, at most.
        device: Where to train.
        precision: Arithmetic of both trainings.
        seed: Of both trainings.
    """

    student: str
    seconds: float | None = 1200.0
    epochs: int | None = None
    imitation: ImitationSpec = field(default_factory=ImitationSpec)
    teacher_engine: EngineName = "auto"
    unlabelled: bool = False
    quantise: bool = False
    cases: int = 24
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Precision | Literal["auto"] = "auto"
    seed: int = 0


class Distilled(BaseModel):
    """The content of `distillation.json`.

    Attributes:
        teacher: Name and first digits of the hash of its weights.
        student: What was asked for.
        data: Name of the data set.
        imitation: What was imitated.
        teacher_engine: What looked at batches for the teacher, such as "torch" or "openvino int8".
        cases: Ids of the cases that judged.
        teacher_has_seen: Whether the teacher was trained on one of them; its Dice, and perhaps the
            student's, is then too high.
        labelled_by_teacher: Cases without a label that the student learned from.
        student_steps: Steps of the student.
        control_steps: Steps of its control.
        student_seconds: Time of the student's steps.
        control_seconds: Time of its control's steps.
        models: Teacher, student, control, and the student in INT8 where it was quantised.
        gain: The student against its control.
        behind: The student against its teacher.
        quantised: The student in INT8 against itself; None where it was not quantised or refused.
        refused: Why INT8 was refused; empty where it was not.
    """

    model_config = FROZEN

    teacher: str
    student: str
    data: str
    imitation: ImitationSpec
    teacher_engine: str = "torch"
    cases: tuple[str, ...]
    teacher_has_seen: bool
    labelled_by_teacher: tuple[str, ...]
    student_steps: int
    control_steps: int
    student_seconds: float
    control_seconds: float
    models: tuple[Standing, ...]
    gain: Difference
    behind: Difference
    quantised: Difference | None = None
    refused: str = ""


def distill(
    teacher: Bundle,
    data: DatasetDescription,
    out: Path,
    settings: DistillSettings,
    *,
    resume: bool = False,
    clock: Clock | None = None,
    command: str = "",
    progress: Progress = SILENT,
) -> Distilled:
    """Train a student and its control, and judge them on cases that neither has learned from.

    The student's plan is its teacher's with another network. The control is trained on the same
    cases and for the same time (or epochs) with the labels alone. The student's run lies in `out`,
    its bundle in `out/bundle`, the control's run in `out/control`.

    Args:
        teacher: Networks of one plan; several teach by the mean of their logits.
        data: The data set that it was trained on, or one of its kind.
        out: Folder of the run.
        settings: What is wanted.
        resume: Whether to go on with the run that is there.
        clock: Seconds of the command; starts now by default.
        command: The command line, for the record.
        progress: Told of all that is done.

    Raises:
        WrongInput: If the data set is not of the teacher's kind, or the teacher cannot teach.
        BundleError: If the teacher has no such engine.
        PlanError: If there is no such student.
        BudgetTooShort: If no time is left for training.
        TrainingError: If training cannot start or go on.
        CannotWrite: If the folder cannot be written.
    """
    clock = clock or command_clock()
    require_same_kind(teacher, data)
    device = choose_device(settings.device)
    maker = looking(teacher, settings.teacher_engine, device=device, progress=progress)
    guide = Teacher(teacher, settings.imitation, device=device, maker=maker)
    base = student_plan(teacher.plan, student_of(settings.student))
    split = split_of(teacher, data, seed=settings.seed)
    teaching = Predictor(teacher, engine="torch")
    case_seconds = _case_seconds(teaching, data, split)
    wider, labelled = _labelled(teaching, data, out, settings, case_seconds, progress)
    judging = split.validation[: _most_cases(settings, case_seconds)]
    each = _seconds_each(settings, clock(), _MARGIN * 3 * case_seconds * len(judging))
    asked = RunSettings(
        seconds=each, epochs=settings.epochs, arch=base.network.kind, device=settings.device,
        precision=settings.precision, seed=settings.seed,
    )  # fmt: skip
    student_split = split._replace(training=(*split.training, *labelled))

    def trained(folder: Path, asked: RunSettings, by: Teacher | None) -> Bundle:
        goes_on = resume and (by is not None or RunFolder(folder).record.is_file())
        cases = len((student_split if by else split).training)
        plan = _plan(base, folder, asked, by, cases=cases, device=device, resume=goes_on)
        return train(
            wider if by else data, folder, asked, plan=plan, guide=by,
            splits=(student_split if by else split,), resume=goes_on, command=command,
            progress=progress,
        )  # fmt: skip

    student = trained(out, asked, guide)
    control = trained(out / CONTROL, _for_control(asked, split, student_split), None)
    models = {
        TEACHER_NAME: teaching,
        STUDENT_NAME: Predictor(student, engine="torch"),
        CONTROL_NAME: Predictor(control, engine="torch"),
    }
    refused = _quantised(student, wider, settings, models, progress) if settings.quantise else ""
    record = _record(
        teacher, guide, data, settings, judging, labelled, student, control,
        standings(models, data, judging, progress=progress), refused, out,
    )  # fmt: skip
    write_text(out / RECORD_FILE, record.model_dump_json(indent=1) + "\n")
    return record


def split_of(teacher: Bundle, data: DatasetDescription, *, seed: int) -> Split:
    """Who trains and who judges: labelled cases that the teacher has not seen judge.

    Where it has seen all of them, or none, a tenth of the patients is held out.
    """
    seen: set[str] = set()
    if teacher.provenance.data_name == data.name:
        seen = set(teacher.provenance.training_cases)
    training = tuple(case.id for case in data.cases if case.id in seen)
    judging = tuple(case.id for case in data.cases if case.id not in seen)
    if training and judging:
        return Split(0, training, judging)
    return Split(0, *holdout(data, seed=seed))


def _plan(
    base: Plan,
    folder: Path,
    asked: RunSettings,
    teacher: Teacher | None,
    *,
    cases: int,
    device: Device,
    resume: bool,
) -> Plan:
    """The plan of one training: the one that it began with, or one for its time."""
    if resume and RunFolder(folder).plan.is_file():
        return load_plan(RunFolder(folder).plan)
    if asked.seconds is None:
        steps = round((asked.epochs or 1) * cases / base.recipe.batch_size)
    else:
        steps = steps_within(asked.seconds, base, teacher, device=device, precision=asked.precision)
    return paced(base, steps=steps, cases=cases)


def _case_seconds(teaching: Predictor, data: DatasetDescription, split: Split) -> float:
    """What the teacher takes for a case, once it has compiled all it needs."""
    volume = read_case(data, data.case(split.validation[0]))
    teaching.predict(volume)
    begin = time.perf_counter()
    teaching.predict(read_case(data, data.case(split.validation[0])))
    return time.perf_counter() - begin


def _most_cases(settings: DistillSettings, case_seconds: float) -> int:
    if settings.seconds is None:
        return settings.cases
    fitting = int(_SHARE * settings.seconds / (_MARGIN * 3 * case_seconds))
    return max(1, min(settings.cases, fitting))


def _seconds_each(settings: DistillSettings, now: float, judging: float) -> float | None:
    """Half of what is left for the two trainings.

    Raises:
        BudgetTooShort: If nothing is.
    """
    if settings.epochs is not None or settings.seconds is None:
        return None
    left = settings.seconds - now - judging
    if left <= 0:
        raise BudgetTooShort(
            "The budget covers two trainings, the student's and its control's, and their judging.",
            received=f"{settings.seconds:.0f} s, of which {now:.0f} s are over and "
            f"{judging:.0f} s are kept for judging",
            cure=f"Give --budget {ceil((now + judging) / 60) * 4}m or more.",
        )
    return left / 2


def _for_control(asked: RunSettings, split: Split, student: Split) -> RunSettings:
    """The control's settings: as many samples, where the student learns from more cases."""
    if asked.epochs is None or len(student.training) == len(split.training):
        return asked
    epochs = ceil(asked.epochs * len(student.training) / len(split.training))
    return asked.model_copy(update={"epochs": epochs})


def _labelled(
    teaching: Predictor,
    data: DatasetDescription,
    out: Path,
    settings: DistillSettings,
    case_seconds: float,
    progress: Progress,
) -> tuple[DatasetDescription, tuple[str, ...]]:
    """The data set with the teacher's masks for cases that have none, and their ids.

    Masks that lie there already are kept, so that a resumed run learns from the same ones.
    """
    chosen = data.unlabelled if settings.unlabelled else ()
    if settings.seconds is not None:
        chosen = chosen[: int(_SHARE * settings.seconds / case_seconds)]
    if not chosen:
        return data, ()
    found: list[Case] = []
    with progress.task("label by the teacher", len(chosen)) as task:
        for case in chosen:
            path = (out / "labelled" / f"{case.id}.nii.gz").absolute()
            if not path.is_file():
                write_label_map(teaching.predict(read_case(data, case)).label_map, path)
            found.append(case.model_copy(update={"label": path}))
            task.advance()
    taken = {case.id for case in found}
    cases = tuple(sorted((*data.cases, *found), key=lambda case: case.id))
    rest = tuple(case for case in data.unlabelled if case.id not in taken)
    wider = data.model_copy(update={"cases": cases, "unlabelled": rest})
    return wider, tuple(case.id for case in found)


def _quantised(
    student: Bundle,
    data: DatasetDescription,
    settings: DistillSettings,
    models: dict[str, Predictor],
    progress: Progress,
) -> str:
    """Quantise the student and put it beside the others; the sentence if it is refused."""
    wanted = ExportSettings("openvino", "int8", MAX_DICE_LOSS, settings.cases)
    try:
        export(student, wanted, data=data, progress=progress)
    except EngineDiffers as error:
        progress.note(f"The student stays in float. {error}")
        return str(error)
    models[f"{STUDENT_NAME}, INT8"] = Predictor(student, engine="openvino", precision="int8")
    return ""


def _record(
    teacher: Bundle,
    guide: Teacher,
    data: DatasetDescription,
    settings: DistillSettings,
    judging: tuple[str, ...],
    labelled: tuple[str, ...],
    student: Bundle,
    control: Bundle,
    found: tuple[Standing, ...],
    refused: str,
    out: Path,
) -> Distilled:
    by_name: Mapping[str, Standing] = {one.name: one for one in found}
    of_student = by_name[STUDENT_NAME]
    small = by_name.get(f"{STUDENT_NAME}, INT8")
    seen = set(teacher.provenance.training_cases)
    return Distilled(
        teacher=teacher.identity,
        student=settings.student,
        data=data.name,
        imitation=guide.spec,
        teacher_engine=guide.engine,
        cases=judging,
        teacher_has_seen=teacher.provenance.data_name == data.name and bool(seen & set(judging)),
        labelled_by_teacher=labelled,
        student_steps=student.provenance.steps,
        control_steps=control.provenance.steps,
        student_seconds=_training_seconds(out),
        control_seconds=_training_seconds(out / CONTROL),
        models=found,
        gain=difference(of_student, by_name[CONTROL_NAME]),
        behind=difference(of_student, by_name[TEACHER_NAME]),
        quantised=difference(small, of_student) if small else None,
        refused=refused,
    )


def _training_seconds(folder: Path) -> float:
    """Time of the steps of a run, as its figures say."""
    figures = json.loads(RunFolder(folder).metrics.read_text(encoding="utf-8"))
    return float(figures["training_seconds"])
