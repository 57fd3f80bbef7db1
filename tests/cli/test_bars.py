import pytest
from rich.console import Console

from medseg.cli import bars

FACTS = {
    "loss": "0.799",
    "Dice": "0.719",
    "memory": "0.9 GB",
    "held_out": "0.689",
    "case": "x" * 64,
}


def drawn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int) -> str:
    monkeypatch.setattr(bars, "_LOG_COLUMNS", width)
    with bars.Bars().task("train", 20) as task:
        task.advance(20, **FACTS)
    return capsys.readouterr().err


def test_a_long_fact_is_cut_and_the_bar_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = drawn(monkeypatch, capsys, 80)
    assert line.startswith("train ━━━━━━━━━━━━━━━━━━━━━━━━ 20/20 ")
    assert "loss 0.799" in line
    assert "…" in line
    assert Console(width=80).measure(line.splitlines()[0]).maximum == 80


def test_a_log_shows_all_facts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = drawn(monkeypatch, capsys, 200)
    assert "held out 0.689" in line
    assert "x" * 64 in line
