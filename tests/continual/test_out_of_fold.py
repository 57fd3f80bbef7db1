"""Which network has not learned from which case."""

import json

import pytest

from medseg.continual.out_of_fold import networks_that_held_out
from medseg.dataset.plan import Plan
from medseg.errors import DriftError
from medseg.training.run import RunSettings


def write_metrics(folder, **changes):
    folder.mkdir(exist_ok=True)
    found = {
        "measured_on": "cases that were held out",
        "cases": [
            {"case": "a", "fold": 3, "dice": {"x": 0.5}},
            {"case": "b", "fold": 1, "dice": {"x": 0.5}},
            {"case": "c", "fold": 3, "dice": {"x": None}},
        ],
        "folds": [
            {"fold": 1, "configuration": "2d", "steps": 3},
            {"fold": 1, "configuration": "3d_full", "steps": 3},
            {"fold": 3, "configuration": "2d", "steps": 3},
            {"fold": 3, "configuration": "3d_full", "steps": 3},
        ],
    }
    (folder / "metrics.json").write_text(json.dumps(found | changes))
    return folder


def test_networks_are_numbered_in_the_order_of_their_folds(tmp_path):
    assert networks_that_held_out(write_metrics(tmp_path / "run")) == {"a": 1, "b": 0, "c": 1}


def test_what_is_no_finished_run_is_refused(tmp_path):
    with pytest.raises(DriftError, match="the folder of a finished run"):
        networks_that_held_out(tmp_path)
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(DriftError, match=r"Give the folder that medseg train wrote"):
        networks_that_held_out(tmp_path)
    with pytest.raises(DriftError, match=r"without a metrics\.json that says so"):
        networks_that_held_out(write_metrics(tmp_path, folds=[{"fold": 1}]))


def test_cases_that_were_learned_from_tell_nothing(tmp_path):
    run = write_metrics(tmp_path / "run", measured_on="training cases, for want of others")
    with pytest.raises(DriftError, match=r"have not learned from\. Received: a run whose Dice"):
        networks_that_held_out(run)


def test_it_is_what_a_cross_validation_says(blobs_run):
    run, settings, held_out = blobs_run
    found = networks_that_held_out(run)
    assert found == {
        case: settings.folds.index(fold) for fold in held_out for case in held_out[fold]
    }


@pytest.fixture(scope="module")
def blobs_run(tmp_path_factory):
    """A cross-validation of two folds that was really trained."""
    from watching import small_plan, write_cases

    from medseg.dataset.importers import open_dataset
    from medseg.training.crossval import train

    root = tmp_path_factory.mktemp("blobs")
    for name in ("images", "labels"):
        (root / "data" / name).mkdir(parents=True)
    write_cases(root / "data" / "images", 6, labels=root / "data" / "labels")
    described = open_dataset(root / "data")
    plan: Plan = small_plan()
    plan = plan.model_copy(update={"labels": described.labels, "channels": described.channels})
    settings = RunSettings(epochs=1, folds=(4, 1), precision="fp32", device="cpu")
    train(described, root / "run", settings, plan=plan)
    validation = json.loads((root / "run" / "folds.json").read_text())["validation"]
    return root / "run", settings, {fold: validation[fold] for fold in settings.folds}
