"""A loop knows its next step, and goes on only as it began."""

from pathlib import Path

import pytest

from medseg.continual.loop_state import (
    CasesChosen,
    DriftFound,
    LoopState,
    load_state,
    save_state,
    settings_of,
)
from medseg.errors import LoopError

ASKED = {"data": Path("data"), "bundles": Path("bundles"), "test": Path("test"), "epochs": 1}


def state(**asked):
    return LoopState(settings=settings_of(**ASKED, **asked), start="a-1")


def test_it_waits_for_labels_that_were_not_given():
    begun = state(pool=(Path("pool"),))
    assert begun.next == "drift"
    chosen = begun.model_copy(
        update={"drift": DriftFound(alarm=True), "select": CasesChosen(cases=("a",))}
    )
    assert chosen.next == "labels"
    assert chosen.is_waiting
    given = settings_of(**ASKED, pool=(Path("pool"),), labels=Path("labels"))
    chosen.require_same(given)
    assert not chosen.model_copy(update={"settings": given}).is_waiting


def test_without_an_alarm_there_is_nothing_to_do_unless_labels_are_there():
    quiet = {"drift": DriftFound(alarm=False)}
    pool = (Path("pool"),)
    assert state(pool=pool, baseline=Path("b")).model_copy(update=quiet).next is None
    with_labels = state(pool=pool, baseline=Path("b"), labels=Path("labels"))
    assert with_labels.model_copy(update=quiet).next == "select"


def test_it_comes_back_as_it_was_written(tmp_path):
    one = state(labels=Path("labels"))
    save_state(one, tmp_path)
    assert load_state(tmp_path) == one
    (tmp_path / "loop.json").write_text("{}")
    with pytest.raises(LoopError, match="must be the state of a loop"):
        load_state(tmp_path)
    with pytest.raises(LoopError, match="that began"):
        load_state(tmp_path / "other")


def test_other_settings_are_not_gone_on_with():
    one = state(labels=Path("labels"))
    other = settings_of(**ASKED, labels=Path("labels"), seed=1, replay=2)
    with pytest.raises(LoopError, match="another replay, another seed"):
        one.require_same(other)


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({}, "there are labels, or a pool"),
        ({"labels": Path("l"), "seconds": 5.0}, "either seconds or epochs"),
        ({"labels": Path("l"), "baseline": Path("b")}, "looked for in a pool"),
        ({"labels": Path("l"), "count": 0}, "count: .*greater than or equal to 1"),
    ],
)
def test_what_does_not_fit_together_is_refused(asked, match):
    with pytest.raises(LoopError, match=match):
        settings_of(**ASKED, **asked)
