"""Post-processing is kept where it helped beyond chance, and nowhere else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.inference.postprocess import postprocessed
from medseg.specs.postprocess import FilledHolesSpec, LargestComponentSpec, MinimumVolumeSpec
from medseg.training.afterwards import choose_steps, steps_to_try, trials
from medseg.training.judged import Judgement, Trial
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap

LABELS = (Label(value=1, name="core"), Label(value=4, name="shell"))
LARGEST, SMALL, HOLES = (
    LargestComponentSpec(structure="core"),
    MinimumVolumeSpec(structure="core", volume_ml=0.01),
    FilledHolesSpec(structure="core"),
)


def label_map(array):
    return LabelMap(array, Geometry.from_spacing((1.0, 1.0, 1.0), array.shape), LABELS)


def judgements(gains):
    """One case for each row of gains of (LARGEST, SMALL, HOLES)."""
    return [
        Judgement(
            case=str(n),
            fold=0,
            dice={"core": 0.8},
            trials=tuple(
                Trial(step=step, before=0.8, after=0.8 + gain)
                for step, gain in zip((LARGEST, SMALL, HOLES), row, strict=True)
            ),
        )
        for n, row in enumerate(gains)
    ]


def test_of_two_that_take_parts_away_the_stronger_is_kept_and_holes_come_last():
    rows = [(0.02 + n / 1000, 0.01 + n / 1000, 0.005 + n / 1000) for n in range(20)]
    steps, tried = choose_steps(judgements(rows))
    assert steps == (LARGEST, HOLES)
    assert [one.kept for one in tried] == [True, False, True]
    assert "another step" in tried[1].why
    assert tried[0].gain == pytest.approx(0.0295)
    assert tried[0].ci_low < tried[0].gain < tried[0].ci_high
    assert tried[0].n == tried[0].changed == 20


def test_harm_and_chance_keep_nothing():
    generator = np.random.default_rng(0)
    rows = [(-0.02, generator.normal(scale=0.02), 0.0) for _ in range(30)]
    steps, tried = choose_steps(judgements(rows))
    assert steps == ()
    assert tried[2].p_holm == 1.0
    assert {one.why for one in tried} == {"It did not help beyond chance."}


def test_few_cases_keep_nothing_however_much_it_helped():
    steps, tried = choose_steps(judgements([(0.3 + n / 100, 0.0, 0.0) for n in range(9)]))
    assert steps == ()
    assert "too few" in tried[0].why
    assert choose_steps([]) == ((), ())


def test_a_trial_is_the_dice_of_the_changed_mask():
    reference = np.zeros((6, 6, 6), np.uint8)
    reference[1:3, 1:3, 1:3] = 1
    mask = reference.copy()
    mask[5, 5, 5] = 1
    largest, small, holes = trials(
        label_map(mask), label_map(reference), (LARGEST, SMALL, HOLES), None
    )
    assert largest.before == pytest.approx(2 * 8 / 17)
    assert largest.after == 1.0
    assert small.after == 0.0
    assert holes.after == holes.before


MASKS = arrays(np.uint8, (4, 3, 5), elements=st.sampled_from([0, 0, 1, 4]))


@given(MASKS, MASKS)
def test_a_trial_in_its_box_is_the_step_on_the_whole_mask(array, truth):
    mask, reference = label_map(array), label_map(truth)
    steps = (LARGEST, HOLES, LargestComponentSpec(structure="shell"))
    for step, trial in zip(steps, trials(mask, reference, steps, None), strict=True):
        value = {"core": 1, "shell": 4}[step.structure]
        for changed, said in ((mask, trial.before), (postprocessed(mask, [step]), trial.after)):
            one, other = changed.array == value, truth == value
            total = one.sum() + other.sum()
            assert said == pytest.approx(2 * (one & other).sum() / total if total else 1.0)


def test_ignored_voxels_do_not_count():
    reference = np.zeros((6, 6, 6), np.uint8)
    reference[1:3, 1:3, 1:3] = 1
    mask = reference.copy()
    mask[5, 5, 5] = 1
    reference[5, 5, 5] = 9
    labels = (*LABELS, Label(value=9, name="ignore"))
    ignoring = LabelMap(reference, Geometry.from_spacing((1.0,) * 3, (6, 6, 6)), labels)
    (trial,) = trials(label_map(mask), ignoring, (LARGEST,), 9)
    assert trial.before == trial.after == 1.0


def test_an_invented_structure_that_goes_is_a_gain_of_one():
    nothing = label_map(np.zeros((4, 4, 4), np.uint8))
    mask = np.zeros((4, 4, 4), np.uint8)
    mask[0, 0, 0] = 1
    (trial,) = trials(label_map(mask), nothing, (SMALL,), None)
    assert (trial.before, trial.after) == (0.0, 1.0)


def test_what_is_tried_depends_on_the_volumes_and_on_what_a_label_is():
    ranges = {"core": (1.0, 3.0), "shell": (0.0, 3.0)}
    kinds = [(s.structure, s.kind) for s in steps_to_try(LABELS, ranges, instances=False)]
    assert kinds.count(("core", "minimum_volume")) == 3
    assert kinds.count(("shell", "minimum_volume")) == 0
    assert kinds.count(("shell", "largest_component")) == 1
    objects = steps_to_try(LABELS[:1], ranges, instances=True)
    assert [step.kind for step in objects] == ["filled_holes"]
