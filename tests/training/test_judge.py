"""Held-out cases are judged once, by everything that is made of the networks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medseg.bundle import Bundle, Provenance
from medseg.dataset.description import DatasetDescription
from medseg.dataset.plan import Plan
from medseg.dataset.store import Store
from medseg.inference.predict import Predictor
from medseg.networks.build import build
from medseg.specs.postprocess import FilledHolesSpec
from medseg.training.judge import Panel, validate
from medseg.training.judged import OutOfFold
from medseg.volume.io import read_label_map, read_volume


def predictor_of(plan: Plan, seed: int) -> Predictor:
    torch.manual_seed(seed)
    origin = Provenance(medseg_version="0", created="2026", data_name="Blobs", data_hash="", seed=0)
    return Predictor(Bundle(plan, origin, (build(plan.network).state_dict(),)), device="cpu")


@pytest.fixture
def coarse(plan: Plan) -> Plan:
    return plan.model_copy(update={"spacing_mm": (2.0, 2.0, 2.0)})


@pytest.fixture
def panel(blobs: DatasetDescription, plan: Plan, coarse: Plan, tmp_path: Path) -> Panel:
    candidates = {"full": ("full",), "low": ("low",), "full+low": ("full", "low")}
    return Panel(
        description=blobs,
        networks={"full": predictor_of(plan, 0), "low": predictor_of(coarse, 1)},
        stores={
            "full": Store.build(tmp_path / "full", blobs, plan),
            "low": Store.build(tmp_path / "low", blobs, coarse),
        },
        candidates=candidates,
        results={
            name: OutOfFold(tmp_path / name / "masks", tmp_path / name / "judged")
            for name in candidates
        },
        steps=(FilledHolesSpec(structure="core"),),
    )


def test_masks_are_those_that_a_bundle_would_leave(panel: Panel, blobs: DatasetDescription) -> None:
    """Each candidate's mask is that of a Bundle of it, on the case's own grid."""
    case = blobs.cases[0]
    judged = panel.judge(case.id, fold=3)
    first, second = (panel.networks[name].bundle for name in ("full", "low"))
    both = Bundle(first.plan, first.provenance, first.members, further=second.configurations)
    for name, bundle in (("full", first), ("low", second), ("full+low", both)):
        expected = Predictor(bundle, device="cpu").predict(read_volume(case.images[0])).label_map
        mask = read_label_map(panel.results[name].mask(case.id), blobs.labels)
        np.testing.assert_array_equal(mask.array, expected.array)
        assert mask.geometry.same_space(expected.geometry)
        assert judged[name].judgement.fold == 3
        assert set(judged[name].judgement.dice) == {"core", "shell"}
        assert len(judged[name].judgement.trials) == 1
    assert judged["full"].doubts is not None
    assert judged["full+low"].doubts is None


def test_a_case_is_judged_once(panel: Panel, blobs: DatasetDescription, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    ids = [case.id for case in blobs.cases[:3]]
    first = validate(panel, ids[:2], fold=1, clock=lambda: 0.0, until=None)
    asked: list[str] = []
    judge = Panel.judge

    def counted(self: Panel, case_id: str, fold: int) -> object:
        asked.append(case_id)
        return judge(self, case_id, fold)

    monkeypatch.setattr(Panel, "judge", counted)
    again = validate(panel, ids, fold=1, clock=lambda: 0.0, until=None)
    assert asked == ids[2:]
    assert [one.judgement for one in again["low"][:2]] == [one.judgement for one in first["low"]]


def test_cases_that_would_end_late_are_left_out_but_for_the_first(
    panel: Panel, blobs: DatasetDescription
) -> None:
    ticks = iter(range(1000))
    ids = [case.id for case in blobs.cases]
    late = validate(panel, ids, fold=0, clock=lambda: 9.0, until=7.0)
    assert [one.judgement.case for one in late["full"]] == ids[:1]
    some = validate(panel, ids, fold=0, clock=lambda: float(next(ticks)), until=9.0)
    assert 1 < len(some["full"]) < len(ids)
