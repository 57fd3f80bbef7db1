"""The expected Dice, and what is flagged."""

import numpy as np
import pytest

from medseg.inference.quality import Expectation, estimate_quality
from medseg.space.votes import TopClasses
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Label
from medseg.volume.regions import PaintedRegion
from medseg.volume.volume import LabelMap

SIZE = (12, 12, 12)
GRID = Geometry.from_spacing((1.0, 1.0, 1.0), SIZE)
LABELS = (Label(value=3, name="liver"), Label(value=7, name="spleen"))


def top_of(probabilities):
    """All classes in their slots."""
    top = TopClasses.empty(len(probabilities), GRID)
    top.weights[:] = probabilities
    return top


def expected_of(top, **how):
    expectation = Expectation(int(top.classes.max()) + 1, **how)
    expectation.add(top)
    return expectation


def label_map_of(boxes):
    array = np.zeros(SIZE, np.uint8)
    for value, box in boxes:
        array[box] = value
    return LabelMap(array, GRID, LABELS)


def sure(label_map):
    """A network without doubt."""
    return top_of(np.stack([label_map.array == v for v in (0, 3, 7)]))


MIDDLE = (slice(2, 6), slice(2, 6), slice(2, 6))
OTHER = (slice(7, 11), slice(7, 11), slice(7, 11))
WIDE = {"liver": (0.001, 1.0), "spleen": (0.001, 1.0)}


def test_it_is_the_formula():
    rng = np.random.default_rng(0)
    p = rng.dirichlet((1, 1, 1), SIZE).transpose(3, 0, 1, 2).astype(np.float32)
    won = p.argmax(0)
    expected = [2 * p[n][won == n].sum() / (p[n].sum() + (won == n).sum()) for n in (1, 2)]
    assert expected_of(top_of(p)).dice() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("regions", [False, True])
def test_parts_of_a_volume_add_up(regions):
    top = top_of(np.random.default_rng(0).dirichlet((1, 1, 1), SIZE).transpose(3, 0, 1, 2))
    parts = Expectation(3, regions=regions)
    for first, size in ((0, 5), (5, 7)):
        parts.add(top.cropped((0, first, 0), (12, size, 12)))
    assert parts.dice() == pytest.approx(expected_of(top, regions=regions).dice())


def test_temperature_is_that_of_the_logits():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(3, *SIZE)) * 3
    p, cooled = (np.exp(z) / np.exp(z).sum(0) for z in (logits, logits / 1.7))
    assert expected_of(top_of(p), temperature=1.7).dice() == pytest.approx(
        expected_of(top_of(cooled)).dice(), rel=1e-4
    )


def test_two_configurations_count_alike():
    label_map = label_map_of([(3, MIDDLE), (7, OTHER)])
    firm, unsure = sure(label_map), top_of(sure(label_map).weights * 0.7 + 0.1)
    one, other, both = (
        estimate_quality(list(map(expected_of, tops)), label_map, volume_ranges_ml=WIDE)
        for tops in ([firm], [unsure], [firm, unsure])
    )
    assert both.score == pytest.approx((one.score + other.score) / 2)


def test_certainty_is_one_and_silence_is_none():
    label_map = label_map_of([(3, MIDDLE)])
    quality = estimate_quality([expected_of(sure(label_map))], label_map, volume_ranges_ml=WIDE)
    assert quality.score == 1.0
    assert quality.expected_dice == {"liver": 1.0, "spleen": None}
    assert [flag.kind for flag in quality.flags] == ["nothing_found"]


def test_doubt_lowers_it():
    label_map = label_map_of([(3, MIDDLE), (7, OTHER)])
    p = sure(label_map).weights * 0.7 + 0.1
    quality = estimate_quality([expected_of(top_of(p))], label_map, volume_ranges_ml=WIDE)
    assert 0.3 < quality.score < 0.8


def test_nothing_at_all_scores_zero():
    label_map = label_map_of([])
    assert (
        estimate_quality([expected_of(sure(label_map))], label_map, volume_ranges_ml={}).score
        == 0.0
    )


def test_a_structure_that_may_be_missing_is_not_flagged():
    label_map = label_map_of([(3, MIDDLE)])
    ranges = {"liver": (0.001, 1.0), "spleen": (0.0, 1.0)}
    assert not estimate_quality(
        [expected_of(sure(label_map))], label_map, volume_ranges_ml=ranges
    ).flags


def test_a_volume_outside_training_is_flagged_with_both_numbers():
    label_map = label_map_of([(3, MIDDLE), (7, OTHER)])
    ranges = WIDE | {"liver": (1.2, 1.5)}
    (flag,) = estimate_quality(
        [expected_of(sure(label_map))], label_map, volume_ranges_ml=ranges
    ).flags
    assert flag.kind == "outside_training_range"
    assert flag.what == "liver has 0.064 ml; in training cases it had 1.2 to 1.5 ml."


def test_the_border_is_flagged_but_not_across_a_single_slice():
    label_map = label_map_of([(3, MIDDLE), (7, (slice(8, 12), slice(2, 4), slice(2, 4)))])
    (flag,) = estimate_quality(
        [expected_of(sure(label_map))], label_map, volume_ranges_ml=WIDE
    ).flags
    assert (flag.kind, flag.structure) == ("touches_border", "spleen")
    flat = Geometry.from_spacing((1.0, 1.0, 1.0), (12, 12, 1))
    slice_map = LabelMap(label_map_of([(3, MIDDLE)]).array[:, :, 3:4], flat, LABELS[:1])
    top = TopClasses.empty(2, flat)
    top.weights[:] = np.stack([slice_map.array != 3, slice_map.array == 3])
    assert not estimate_quality([expected_of(top)], slice_map, volume_ranges_ml={}).flags


def test_parts_are_flagged_unless_objects_are_counted():
    label_map = label_map_of([(3, MIDDLE), (3, OTHER)])
    ranges = WIDE | {"spleen": (0.0, 1.0)}
    (flag,) = estimate_quality(
        [expected_of(sure(label_map))], label_map, volume_ranges_ml=ranges
    ).flags
    assert flag.what == "liver lies in 2 separate large parts."
    assert not estimate_quality(
        [expected_of(sure(label_map))], label_map, volume_ranges_ml=ranges, instances=True
    ).flags


def test_a_speck_is_no_part():
    label_map = label_map_of([(3, MIDDLE), (3, (9, 9, 9))])
    ranges = WIDE | {"spleen": (0.0, 1.0)}
    assert not estimate_quality(
        [expected_of(sure(label_map))], label_map, volume_ranges_ml=ranges
    ).flags


WHOLE = PaintedRegion(name="whole", values=(3, 7), painted=3)
INNER = PaintedRegion(name="inner", values=(7,), painted=7)


def test_of_regions_it_is_the_formula_for_each():
    p = np.random.default_rng(0).random((2, *SIZE)).astype(np.float32)
    won = p > 0.5
    expected = [2 * p[n][won[n]].sum() / (p[n].sum() + won[n].sum()) for n in range(2)]
    expectation = expected_of(top_of(p), regions=True)
    assert expectation.dice() == pytest.approx(expected, rel=1e-5)
    array = np.where(won[1], 7, np.where(won[0], 3, 0)).astype(np.uint8)
    mask = LabelMap(array, GRID, LABELS)
    quality = estimate_quality([expectation], mask, volume_ranges_ml=WIDE, regions=(WHOLE, INNER))
    assert quality.expected_dice == pytest.approx(
        dict(zip(("whole", "inner"), expected, strict=True)), rel=1e-5
    )


def test_the_temperature_of_a_region_divides_its_logit():
    logits = np.random.default_rng(1).normal(size=(2, *SIZE)) * 3
    p, cooled = (1 / (1 + np.exp(-z)) for z in (logits, logits / 1.7))
    assert expected_of(top_of(p), regions=True, temperature=1.7).dice() == pytest.approx(
        expected_of(top_of(cooled), regions=True).dice(), rel=1e-4
    )


def test_a_region_that_is_nowhere_has_no_expected_dice():
    top = top_of(np.full((1, *SIZE), 0.4))
    assert expected_of(top, regions=True).dice() == [None]
