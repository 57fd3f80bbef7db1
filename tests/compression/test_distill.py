"""A student and its control, from a data set to a table."""

import pytest
import torch
from exports import make_bundle, make_plan, write_ball

from medseg.bundle import load_bundle, save_bundle
from medseg.compression import distill as distilling
from medseg.compression.distill import (
    CONTROL,
    CONTROL_NAME,
    STUDENT_NAME,
    TEACHER_NAME,
    Distilled,
    DistillSettings,
    distill,
    split_of,
)
from medseg.dataset.description import Channel
from medseg.errors import (
    BudgetTooShort,
    CannotResume,
    EngineDiffers,
    PlanError,
    TrainingStopped,
    WrongInput,
)

ONCE = DistillSettings(
    "plain_unet@0.5", seconds=None, epochs=2, cases=2, device="cpu", precision="fp32"
)


@pytest.fixture(scope="module")
def wider(balls, tmp_path_factory):
    """Six cases with labels, and one without."""
    more = write_ball(tmp_path_factory.mktemp("more"), 7).model_copy(update={"label": None})
    return balls.model_copy(update={"unlabelled": (more,)})


@pytest.fixture(scope="module")
def done(learned_bundle, wider, tmp_path_factory):
    out = tmp_path_factory.mktemp("distilled") / "run"
    settings = DistillSettings(**{**ONCE.__dict__, "unlabelled": True})
    return out, distill(learned_bundle, wider, out, settings, command="medseg distill")


def test_student_and_control_are_judged_with_their_teacher(done, learned_bundle):
    out, record = done
    assert Distilled.model_validate_json((out / "distillation.json").read_text()) == record
    assert [one.name for one in record.models] == [TEACHER_NAME, STUDENT_NAME, CONTROL_NAME]
    assert record.cases == ("ball_3", "ball_4")
    assert not record.teacher_has_seen
    teacher, student, control = record.models
    assert student.parameters == control.parameters < teacher.parameters / 2
    assert record.gain.against == CONTROL_NAME
    expected = sum(a - b for a, b in zip(student.case_dice, control.case_dice, strict=True)) / 2
    assert record.gain.mean == pytest.approx(expected)
    assert record.teacher == learned_bundle.identity


def test_provenance_names_the_teacher_of_the_student_alone(done, learned_bundle):
    out, _ = done
    student, control = load_bundle(out), load_bundle(out / CONTROL)
    assert student.provenance.taught_by == learned_bundle.identity
    assert control.provenance.taught_by == ""
    assert "taught_by" not in (out / CONTROL / "bundle" / "bundle.json").read_text()
    assert student.metrics["measured_on"] == "cases that were held out"


def test_only_the_student_learns_from_what_its_teacher_labelled(done):
    out, record = done
    assert record.labelled_by_teacher == ("ball_7",)
    assert (out / "labelled" / "ball_7.nii.gz").is_file()
    known = ("ball_0", "ball_1", "ball_2")
    assert load_bundle(out).provenance.training_cases == (*known, "ball_7")
    assert load_bundle(out / CONTROL).provenance.training_cases == known
    assert record.control_steps >= record.student_steps


@pytest.mark.slow
def test_what_was_interrupted_goes_on_to_the_same_weights(
    learned_bundle, balls, tmp_path, monkeypatch
):
    whole = distill(learned_bundle, balls, tmp_path / "whole", ONCE)
    train = distilling.train

    def stopped(data, folder, *words, **more):
        if folder.name == CONTROL:
            raise TrainingStopped("Stopped.")
        return train(data, folder, *words, **more)

    monkeypatch.setattr(distilling, "train", stopped)
    with pytest.raises(TrainingStopped, match="Stopped"):
        distill(learned_bundle, balls, tmp_path / "cut", ONCE)
    monkeypatch.undo()
    again = distill(learned_bundle, balls, tmp_path / "cut", ONCE, resume=True)
    for folder in (".", CONTROL):
        one, other = (load_bundle(tmp_path / n / folder).members[0] for n in ("whole", "cut"))
        assert all(torch.equal(one[name], tensor) for name, tensor in other.items())
    assert [m.case_dice for m in again.models] == [m.case_dice for m in whole.models]
    other = save_bundle(make_bundle(members=2), tmp_path / "other")
    with pytest.raises(CannotResume, match=r"teacher .* instead of"):
        distill(other, balls, tmp_path / "cut", ONCE, resume=True)


def test_without_unseen_cases_some_are_held_out_and_it_is_said(balls):
    everyone = tuple(case.id for case in balls.cases)
    assert split_of(make_bundle(), balls, seed=0).validation == ("ball_3", "ball_4", "ball_5")
    of_all = split_of(make_bundle(training=everyone), balls, seed=0)
    assert set(of_all.training) | set(of_all.validation) == set(everyone)
    assert of_all.is_held_out
    elsewhere = balls.model_copy(update={"name": "Others"})
    assert split_of(make_bundle(), elsewhere, seed=0).training != ("ball_0", "ball_1", "ball_2")


def test_other_data_and_other_students_are_refused(learned_bundle, balls, tmp_path):
    ct = balls.model_copy(update={"channels": (Channel(name="CT", modality="CT"),)})
    with pytest.raises(WrongInput, match="images of its own kind"):
        distill(learned_bundle, ct, tmp_path / "run", ONCE)
    unknown = DistillSettings(**{**ONCE.__dict__, "student": "tiny"})
    with pytest.raises(PlanError, match="Networks are"):
        distill(learned_bundle, balls, tmp_path / "run", unknown)
    fast = DistillSettings("lite", seconds=1e-3, device="cpu")
    with pytest.raises(BudgetTooShort, match="covers two trainings"):
        distill(learned_bundle, balls, tmp_path / "run", fast)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_student_is_quantised_or_it_is_said_why_not(
    learned_bundle, balls, tmp_path, monkeypatch
):
    settings = DistillSettings(**{**ONCE.__dict__, "quantise": True})
    record = distill(learned_bundle, balls, tmp_path / "run", settings)
    if not record.refused:
        assert record.models[-1].engine == "openvino int8"
        assert record.quantised.against == STUDENT_NAME

    def differs(*words, **more):
        raise EngineDiffers("It differs.")

    monkeypatch.setattr(distilling, "export", differs)
    refused = distill(learned_bundle, balls, tmp_path / "run", settings, resume=True)
    assert (refused.refused, refused.quantised) == ("It differs.", None)
    assert len(refused.models) == 3


def test_the_plan_of_a_teacher_is_the_plan_of_its_student(done):
    out, _ = done
    assert load_bundle(out).plan.patch_size == make_plan().patch_size
