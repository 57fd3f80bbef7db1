"""`medseg distill` as it is typed."""

import json

from typer.testing import CliRunner

from medseg.cli import distill as command
from medseg.cli.app import app
from medseg.compression.distill import Distilled
from medseg.compression.imitation import ImitationSpec
from medseg.compression.standings import Standing, difference


def made_up():
    models = tuple(
        Standing(
            name=name, dice=dice, case_dice=(dice - 0.01, dice + 0.01), patch_ms=ms,
            parameters=1000, engine="torch fp32",
        )
        for name, dice, ms in (
            ("teacher", 0.9, 50.0), ("student", 0.88, 5.0), ("control", 0.86, 5.0),
        )
    )  # fmt: skip
    teacher, student, control = models
    return Distilled(
        teacher="Balls 0123", student="lite", data="Balls", imitation=ImitationSpec(),
        cases=("a", "b"), teacher_has_seen=True, labelled_by_teacher=(), student_steps=10,
        control_steps=20, student_seconds=1.0, control_seconds=1.0, models=models,
        gain=difference(student, control), behind=difference(student, teacher),
        refused="It differs.",
    )  # fmt: skip


def test_the_control_stands_beside_the_student(tmp_path, capsys):
    from medseg.cli.console import Console

    command._say(Console(as_json=False), made_up(), tmp_path)
    said = " ".join(capsys.readouterr().out.split())
    assert "10 in 1 s with a teacher (torch), 20 in 1 s without" in said
    assert "The student against control: +0.0200 Dice (+0.0200 to +0.0200): better." in said
    assert "The student against teacher: -0.0200 Dice" in said
    assert "The teacher was trained on cases that judged" in said
    assert "INT8 was refused. It differs." in said
    assert (tmp_path / "pareto.svg").read_text().startswith("<svg")


def test_wrong_usage_and_wrong_input_are_told_apart(tmp_path):
    typed = ["distill", "hippocampus-mr", "--data", str(tmp_path), "--out", str(tmp_path / "o")]
    both = CliRunner().invoke(app, [*typed, "--budget", "1m", "--epochs", "1"])
    assert both.exit_code == 2
    none = CliRunner().invoke(app, [*typed, "--json"])
    assert none.exit_code == 1
    assert "error" in json.loads(none.stdout)
