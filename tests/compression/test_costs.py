"""What a bundle costs: windows that are counted, rows that are read, times that are measured."""

import pytest
from exports import make_bundle, make_plan

from medseg.bundle import save_bundle
from medseg.compression import costs as costing
from medseg.compression.costs import (
    TYPICAL_CT,
    CaseShape,
    EngineCost,
    costs,
    measure,
    shapes_of,
    windows_of,
)
from medseg.compression.export import ExportSettings, export
from medseg.errors import NoEngine

SMALL = CaseShape("small", (20, 18, 10), (1.1, 1.1, 2.0))


def task_of(bundle, *shapes, engine="torch", precision="fp32"):
    return costing._Task(str(bundle.folder), engine, precision, shapes, 1)


def test_windows_are_counted_along_each_axis():
    """A patch of 16 x 16 x 8 at half overlap: two windows where it is short of the grid."""
    plan = make_plan()
    assert windows_of(SMALL, plan) == 2 * 2 * 2
    assert windows_of(CaseShape("patch", (16, 16, 8), (1.1, 1.1, 2.0)), plan) == 1
    assert windows_of(CaseShape("thin", (3, 3, 1), (1.1, 1.1, 2.0)), plan) == 1
    finer = CaseShape("the same in finer voxels", (40, 36, 20), (0.55, 0.55, 1.0))
    assert windows_of(finer, plan) == windows_of(SMALL, plan)


def test_cases_are_like_the_training_data_whatever_their_orientation():
    plan = make_plan()
    own, scan = shapes_of(plan)
    assert (own.grid, own.spacing_mm) == (plan.median_grid, plan.spacing_mm)
    assert (scan.name, scan.grid) == (TYPICAL_CT, (512, 512, 200))
    turned = plan.model_copy(update={"orientation": "SRA"})
    assert shapes_of(turned)[0].grid == (18, 10, 20)
    assert windows_of(shapes_of(turned)[0], turned) == windows_of(own, plan)
    assert len(shapes_of(make_plan(2))) == 1


def test_a_case_is_predicted_unless_that_would_take_long(learned_bundle, monkeypatch):
    monkeypatch.setattr(costing, "MOST_SECONDS", 10.0)
    large = CaseShape("large", (4000, 4000, 2000), (1.1, 1.1, 2.0))
    found = measure(task_of(learned_bundle, SMALL, large))
    small, foretold = found.cases
    assert small.is_measured
    assert small.seconds > 0
    assert not foretold.is_measured
    assert foretold.windows == windows_of(large, make_plan())
    assert foretold.seconds >= found.patch_ms / 1e3 * foretold.windows
    assert found.memory_gb > 0.05


def test_what_is_foretold_grows_with_windows_and_networks(tmp_path, monkeypatch):
    monkeypatch.setattr(costing, "MOST_SECONDS", 0.0)
    monkeypatch.setattr(costing, "model_patch_ms", lambda model: 100.0 * len(model.engines))
    for members in (1, 2):
        bundle = save_bundle(make_bundle(members=members), tmp_path / str(members))
        (case,) = measure(task_of(bundle, SMALL)).cases
        assert case.seconds == pytest.approx(0.1 * members * 8)


@pytest.mark.slow
def test_every_engine_has_a_row(balls, tmp_path, monkeypatch):
    """Engines and what their records say; the time is measured in another process elsewhere."""
    bundle = save_bundle(make_bundle(metrics={"dice": {"mean": 0.8}}), tmp_path / "bundle")
    export(bundle, ExportSettings("onnx", "fp32"))
    export(bundle, ExportSettings("onnx", "fp16", max_dice_loss=1.0, cases=1), data=balls)
    monkeypatch.setattr(costing, "_measured", lambda task, row: row)
    found = {one.engine: one for one in costs(bundle).engines}
    assert {"torch fp32", "onnx fp32", "onnx fp16"} <= set(found)
    assert (found["torch fp32"].dice, found["torch fp32"].dice_change) == (0.8, None)
    assert found["onnx fp32"].dice == 0.8
    assert found["onnx fp16"].dice_change is not None
    size_mb = (bundle.folder / "weights.safetensors").stat().st_size / 1e6
    assert found["torch fp32"].megabytes == size_mb
    assert found["onnx fp16"].megabytes > 0


@pytest.mark.slow
def test_a_process_of_its_own_measures_and_refuses(learned_bundle):
    row = EngineCost(engine="torch fp32", megabytes=1.0, dice=None)
    done = costing._measured(task_of(learned_bundle, SMALL), row)
    assert done.refused == ""
    assert done.patch_ms > 0
    assert done.cases[0].is_measured
    lacking = task_of(learned_bundle, SMALL, engine="tensorrt", precision="fp16")
    assert "An engine is exported before it is used" in costing._measured(lacking, row).refused


def test_a_bundle_in_memory_is_refused():
    with pytest.raises(NoEngine, match="saved before it is measured"):
        costs(make_bundle())
