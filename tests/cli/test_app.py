"""The command line as a whole: what is there, how it answers, and the whole way once."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import medseg
from medseg.dataset.phantom import LABELS, Study, write_study

COMMANDS = ("demo", "info", "convert", "import-nnunet", "dataset", "dataset import",
            "dataset check", "dataset split", "dataset fetch", "dataset export", "networks",
            "plan", "train", "predict", "stream", "evaluate", "compare", "report")  # fmt: skip


def run(*words: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `medseg WORDS` in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-m", "medseg", *map(str, words)],
        cwd=folder, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip


def test_help_names_every_command() -> None:
    shown = run("--help").stdout
    assert all(command.split()[0] in shown for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    answer = run(*command.split(), "--help")
    assert answer.returncode == 0
    assert "Usage: " in answer.stdout


def test_the_version_is_the_packages() -> None:
    assert run("--version").stdout == f"medseg {medseg.__version__}\n"


def test_wrong_usage_is_two() -> None:
    assert run("predict", "--nonsense").returncode == 2


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    answer = run("info", tmp_path / "nothing.nii.gz")
    assert answer.returncode == 1
    assert answer.stderr.startswith("error [file-missing]:")
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_being_told_to_end_is_one_sentence(how: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "medseg", "demo", "--out", str(tmp_path / "demo")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    while not (tmp_path / "demo").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(how)
    said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 1
    assert "error [interrupted]: Stopped by the user" in said
    assert "Traceback" not in said
    assert not list(tmp_path.rglob(".partial-*"))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return write_study(tmp_path_factory.mktemp("study"), training=5, unseen=1, seed=3)


def test_the_whole_way(study: Study, tmp_path: Path) -> None:
    trained = run("train", study.raw, "--out", tmp_path / "run", "--epochs", 1, "--json")
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000
    predicted = run(
        "predict", study.unseen, "--model", tmp_path / "run" / "bundle",
        "--out", tmp_path / "masks", "--format", "dicom-seg",
    )  # fmt: skip
    assert predicted.returncode == 0, predicted.stderr
    record = json.loads((tmp_path / "masks" / "predictions.json").read_text())
    assert len(record["cases"]) == 1
    scored = run("evaluate", tmp_path / "masks", study.references, "--out", tmp_path / "scores")
    assert scored.returncode == 0, scored.stderr
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert {row["label"] for row in scores["cases"]} == {label.name for label in LABELS}
    assert set(scores["summary"]) == {*(label.name for label in LABELS), "mean"}


@pytest.mark.slow
def test_demo(tmp_path: Path) -> None:
    answer = run("demo", "--out", tmp_path / "demo", "--budget", "40s", "--json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["dice"]["mean"] > 0.5
