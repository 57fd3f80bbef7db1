import json

import pytest
import typer

from medseg.cli.console import reporting
from medseg.errors import MissingPath


def test_an_error_is_one_sentence_with_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as stopped, reporting(as_json=False):
        raise MissingPath("A case must exist.", received="nothing at a.nii", cure="Check it.")
    assert stopped.value.exit_code == 1
    assert capsys.readouterr().err == (
        "error [file-missing]: A case must exist. Received: nothing at a.nii. Check it.\n"
    )


def test_an_error_is_json_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), reporting(as_json=True):
        raise MissingPath("A case must exist.")
    said = json.loads(capsys.readouterr().out)
    assert said == {"error": {"code": "file-missing", "message": "A case must exist."}}


@pytest.mark.parametrize(
    ("raised", "code"),
    [(KeyboardInterrupt(), "interrupted"), (MemoryError(), "memory"),
     (OSError(28, "No space left on device", "x.nii"), "system")],
)  # fmt: skip
def test_what_the_system_does_has_a_code_too(
    raised: BaseException, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as stopped, reporting(as_json=False):
        raise raised
    assert stopped.value.exit_code == 1
    assert f"error [{code}]:" in capsys.readouterr().err


def test_only_json_reaches_stdout_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting(as_json=True) as console:
        console.say("for people")
        console.table("t", ["a"], [["1"]])
        with console.progress.task("work", 2) as task:
            task.advance(loss="0.1")
        console.result({"dice": 0.9})
    streams = capsys.readouterr()
    assert json.loads(streams.out) == {"dice": 0.9}
    assert streams.err == ""


def test_people_see_lines_tables_and_bars(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting(as_json=False) as console:
        console.say("hello")
        console.table("Scores", ["case", "dice"], [["a", "0.9"]])
        with console.progress.task("Training", 2) as task:
            task.advance(2, dice="0.9")
            console.progress.note("half way")
        console.result({"dice": 0.9})
    streams = capsys.readouterr()
    assert "hello" in streams.out
    assert "0.9" in streams.out
    assert "Training" in streams.err
    assert "half way" in streams.err
