"""Data sets that are not of the plain kind train to the end, and the masks are right.

Nested regions, scribbles, a coarser resolution, a single case, a structure that a fold lacks, and
more structures than anybody can count.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from medseg.dataset.description import Case, Channel, DatasetDescription, read_case
from medseg.dataset.fingerprint import take_fingerprint
from medseg.dataset.plan import Plan, make_plan
from medseg.inference.predict import Predictor
from medseg.specs import AugmentSpec, Budget, LossSpec, MirrorSpec, RecipeSpec
from medseg.training.crossval import train
from medseg.training.run import RunSettings
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.regions import PaintedRegion
from medseg.volume.volume import LabelMap, Volume

GEOMETRY = Geometry.from_spacing((1.0, 1.0, 1.0), (20, 18, 16), origin_mm=(4.0, -3.0, 7.0))
LABELS = tuple(Label(value=n, name=f"label_{n}") for n in (1, 2, 3))
REGIONS = (
    PaintedRegion(name="whole", values=(1, 2, 3), painted=1),
    PaintedRegion(name="core", values=(2, 3), painted=2),
    PaintedRegion(name="enhancing", values=(3,), painted=3),
)
QUIET = AugmentSpec(
    **{name: 0.0 for name in AugmentSpec.model_fields if name.endswith("_probability")},
    mirror=MirrorSpec(axes=(0, 1, 2)),
)


@pytest.fixture(autouse=True)
def _on_one_thread() -> None:
    torch.set_num_threads(1)


def nested(n: int) -> np.ndarray:
    """Three balls inside of each other, somewhere in the grid."""
    centre = np.random.default_rng(n).uniform(7, 10, size=3)
    at = np.stack(np.indices(GEOMETRY.grid_size), axis=-1) - centre
    distance = np.linalg.norm(at, axis=-1)
    return np.digitize(-distance, (-6.5, -4.5, -2.5)).astype(np.uint8)


def dataset(folder: Path, arrays, *, drawn=None, labels=LABELS, **facts) -> DatasetDescription:
    """Cases whose intensity is their label, with noise; `drawn` is what label files hold."""
    cases = []
    for n, array in enumerate(arrays):
        image = array + np.random.default_rng(n).normal(scale=0.2, size=array.shape)
        paths = folder / f"case_{n}.nii.gz", folder / f"label_{n}.nii.gz"
        write_volume(Volume(image[None].astype(np.float32), GEOMETRY), paths[0])
        values = array if drawn is None else drawn[n]
        known = tuple(Label(value=int(v), name=f"v{v}") for v in np.unique(values) if v)
        write_label_map(LabelMap(values, GEOMETRY, known), paths[1])
        cases.append(Case(id=f"case_{n}", images=paths[:1], label=paths[1]))
    return DatasetDescription(
        name="Nested",
        channels=(Channel(name="T1", modality="MR"),),
        labels=labels,
        cases=tuple(cases),
        **facts,
    )


def fitting(plan: Plan, *, classes: int = 4, **facts) -> Plan:
    """The small plan for this data set."""
    patch = facts.pop("patch_size", (16, 16, 16))
    return plan.model_copy(
        update={
            "labels": LABELS,
            "spacing_mm": (1.0, 1.0, 1.0),
            "patch_size": patch,
            "network": plan.network.model_copy(update={"classes": classes}),
            "window": plan.window.model_copy(update={"patch_size": patch}),
            "augment": QUIET,
            "recipe": RecipeSpec(optimizer="adamw", learning_rate=3e-2, ema_decay=0.9),
            **facts,
        }
    )


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    both = np.logical_and(found, truth).sum()
    return float(2 * both / (found.sum() + truth.sum()))


def settings(epochs: int, **facts) -> RunSettings:
    return RunSettings(epochs=epochs, precision="fp32", device="cpu", **facts)


def test_nested_regions_are_learnt_and_painted(plan, tmp_path):
    truths = [nested(n) for n in range(7)]
    description = dataset(tmp_path / "data", truths[:6], regions=REGIONS)
    ours = fitting(plan, classes=3, regions=REGIONS, loss=LossSpec(kind="dice_bce"))
    bundle = train(description, tmp_path / "run", settings(30), plan=Plan.model_validate(ours))
    assert set(bundle.metrics["dice"]) == {"whole", "core", "enhancing", "mean"}
    assert bundle.metrics["dice"]["mean"] > 0.8
    unseen = dataset(tmp_path / "unseen", truths[6:])
    predicted = Predictor(bundle).predict(read_case(unseen, unseen.cases[0]))
    assert set(predicted.quality.expected_dice) == {"whole", "core", "enhancing"}
    for region in REGIONS:
        found = np.isin(predicted.label_map.array, region.values)
        assert dice(found, np.isin(truths[6], region.values)) > 0.8
    assert set(np.unique(predicted.label_map.array)) == {0, 1, 2, 3}


def test_a_few_scribbles_are_enough_to_learn_whole_structures(plan, tmp_path):
    """One line through each of three slices is drawn, a hundredth of the voxels; 9 is ignored."""
    truths = [nested(n) for n in range(6)]
    drawn = []
    for truth in truths:
        scribbles = np.full_like(truth, 9)
        for k in (5, 8, 11):
            scribbles[:, 9, k] = truth[:, 9, k]
        drawn.append(scribbles)
    assert np.mean([scribbles != 9 for scribbles in drawn]) < 0.012
    description = dataset(tmp_path / "data", truths, drawn=drawn, ignored_value=9)
    ours = Plan.model_validate(fitting(plan, ignored_value=9))
    bundle = train(description, tmp_path / "run", settings(30), plan=ours)
    assert bundle.metrics["dice"]["mean"] > 0.8
    assert not bundle.volume_ranges_ml
    predictor = Predictor(bundle)
    for n, case in enumerate(description.cases[:2]):
        found = predictor.predict(read_case(description, case)).label_map.array
        assert all(dice(found >= value, truths[n] >= value) > 0.8 for value in (1, 2, 3))
        assert found.max() <= 3


def test_a_coarser_resolution_predicts_on_the_cases_own_grid(plan, tmp_path):
    truths = [nested(n) for n in range(5)]
    description = dataset(tmp_path / "data", truths)
    ours = fitting(plan, config="3d_low", spacing_mm=(1.5, 1.5, 1.5), patch_size=(12, 12, 12))
    bundle = train(description, tmp_path / "run", settings(30), plan=Plan.model_validate(ours))
    mask = Predictor(bundle).predict(read_case(description, description.cases[0])).label_map
    assert mask.geometry == GEOMETRY
    assert dice(mask.array > 0, truths[0] > 0) > 0.8


def test_a_single_case_trains_and_says_what_it_was_measured_on(plan, tmp_path):
    description = dataset(tmp_path / "data", [nested(0)])
    ours = Plan.model_validate(fitting(plan))
    bundle = train(description, tmp_path / "run", settings(2), plan=ours)
    assert bundle.metrics["measured_on"] == "training cases, for want of others"


def test_a_structure_that_one_fold_lacks(plan, tmp_path):
    """Only one of five cases holds structure 3: the network of its fold has never seen it."""
    truths = [np.minimum(nested(n), 3 if n == 0 else 2) for n in range(5)]
    description = dataset(tmp_path / "data", truths)
    ours = Plan.model_validate(fitting(plan))
    bundle = train(description, tmp_path / "run", settings(1, folds=(0, 1)), plan=ours)
    assert len(bundle.members) == 2
    assert set(bundle.metrics["dice"]) == {"label_1", "label_2", "label_3", "mean"}


def test_a_hundred_and_six_structures(tmp_path):
    """Planned, trained and predicted as three are; most are a few voxels."""
    grid = np.add.outer(np.add.outer(np.arange(20) // 4 * 25, np.arange(18) // 4 * 5),
                        np.arange(16) // 4)  # fmt: skip
    array = (grid % 107).astype(np.uint8)
    labels = tuple(Label(value=n, name=f"organ {n}") for n in range(1, 107))
    description = dataset(tmp_path / "data", [array] * 2, labels=labels)
    budget = Budget(epochs=1, memory_bytes=1 << 30, gflops=100.0)
    ours = make_plan(take_fingerprint(description), budget)
    assert ours.network.classes == 107
    bundle = train(description, tmp_path / "run", settings(1), plan=ours)
    assert len(bundle.metrics["dice"]) == 107
    mask = Predictor(bundle).predict(read_case(description, description.cases[0])).label_map
    assert mask.array.max() <= 106
