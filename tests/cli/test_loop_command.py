"""`medseg loop` as it is typed: bundles in use by hand, and what a loop says of itself."""

import json
from pathlib import Path

import pytest
from refusing import refused, run

from medseg.cli import loop as command
from medseg.cli.console import Console
from medseg.continual.loop_state import (
    CasesChosen,
    DriftFound,
    InUse,
    LabelsTaken,
    LoopState,
    settings_of,
)
from medseg.continual.promotion import Comparison, PromotionRule, judge


def state(**outcomes):
    asked = settings_of(data=Path("d"), bundles=Path("b"), test=Path("t"), pool=(Path("p"),),
                        baseline=Path("x"), epochs=1)  # fmt: skip
    return LoopState(settings=asked, start="a-1").model_copy(update=outcomes)


def told(one):
    return "\n".join(command._told(one, Path("run")))


def test_bundles_are_put_in_use_and_back(whole, tmp_path):
    folder = tmp_path / "bundles"
    first = json.loads(run("loop", "promote", whole, "--bundles", folder, "--json").stdout)
    assert (folder / "current").read_text().strip() == first["in_use"]
    run("loop", "promote", "hippocampus-mr", "--bundles", folder, "--why", "better on ours")
    back = json.loads(run("loop", "rollback", "--bundles", folder, "--json").stdout)
    assert back["in_use"] == first["in_use"]
    history = json.loads(run("loop", "history", "--bundles", folder, "--json").stdout)
    assert [one["action"] for one in history["entries"]] == ["promoted", "promoted", "rolled back"]
    assert "better on ours" in " ".join(run("loop", "history", "--bundles", folder).stdout.split())


def test_nothing_in_use_and_nothing_before_are_told(whole, tmp_path):
    assert run("loop", "history", "--bundles", tmp_path / "none").exit_code == 1
    run("loop", "promote", whole, "--bundles", tmp_path / "bundles")
    refused("continual-loop", "loop", "rollback", "--bundles", tmp_path / "bundles", at=tmp_path)
    refused("bundle-unknown", "loop", "rollback", "--to", "x", "--bundles", tmp_path / "bundles",
            at=tmp_path)  # fmt: skip


def test_a_loop_that_waits_says_for_what(capsys):
    waiting = state(drift=DriftFound(alarm=True, since="c7", moved=("image.mean",)),
                    select=CasesChosen(cases=("a", "b")))  # fmt: skip
    assert "The data changed, since c7: image.mean." in told(waiting)
    assert "2 cases to label" in told(waiting)
    command._report(Console(as_json=True), waiting, Path("run"))
    assert json.loads(capsys.readouterr().out)["status"] == "waiting for labels"


def test_a_loop_without_an_alarm_says_so():
    assert told(state(drift=DriftFound(alarm=False))).endswith("nothing to do.")


@pytest.mark.parametrize(("gain", "says"), [(0.1, "Promoted."), (0.0, "Kept the bundle in use.")])
def test_a_verdict_is_told_with_its_figures(gain, says):
    rows = tuple((0.5 + 0.01 * n,) for n in range(6))
    better = tuple((x + gain,) for (x,) in rows)
    names = tuple("abcdef")
    both = [
        Comparison(domain="old", cases=names, labels=("core",), current=rows, candidate=rows),
        Comparison(domain="new", cases=names, labels=("core",), current=rows, candidate=better),
    ]
    taken = LabelsTaken(version="v", new=names, learning=names[:4], judging=names[4:], replayed=())
    text = told(
        state(drift=DriftFound(alarm=None), labels=taken, promote=InUse(bundle="a-1"),
              decide=judge(PromotionRule(), both, None))
    )  # fmt: skip
    assert says in text
    assert f"({gain:+.4f}" in text
    assert "In use: a-1" in text


def test_what_contradicts_itself_is_one_sentence(data, whole, tmp_path):
    base = ["loop", "run", "--data", data, "--bundles", tmp_path / "b", "--test", data,
            "--out", tmp_path / "run"]  # fmt: skip
    refused("continual-loop", *base, at=tmp_path)
    refused("continual-loop", *base, "--labels", data, at=tmp_path)
    rule = tmp_path / "rule.json"
    rule.write_text('{"new_gian": 1}')
    refused("continual-loop", *base, "--labels", data, "--rule", rule, at=tmp_path)
    refused("file-missing", *base, "--labels", data, "--rule", tmp_path / "no", at=tmp_path)
    assert run(*base, "--budget", "1m", "--epochs", "1").exit_code == 2
