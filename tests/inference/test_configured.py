"""One configuration, and what it keeps of many regions."""

import numpy as np
import pytest
from scipy.special import expit, logit
from small import make_bundle, make_plan, make_volume

from medseg.dataset.plan import Plan
from medseg.dataset.preprocess import preprocess
from medseg.inference.configured import RIVALS, Configured, slots_of
from medseg.inference.engine import Engine
from medseg.inference.ensemble import Ensemble
from medseg.inference.evidence import probabilities
from medseg.inference.predict import Predictor
from medseg.inference.window import sweep
from medseg.space.painting import paint
from medseg.space.votes import SLOTS, TopClasses
from medseg.specs import LossSpec, WindowSpec
from medseg.volume.geometry import Geometry
from medseg.volume.regions import PaintedRegion


def plan_of_regions(*regions: tuple[int, ...], values: tuple[int, ...]) -> Plan:
    """Regions by their values, each painted as its first value."""
    plan = make_plan(values=values)
    named = tuple(
        PaintedRegion(name=f"region {n}", values=region, painted=region[0])
        for n, region in enumerate(regions)
    )
    change = {
        "regions": named,
        "loss": LossSpec(kind="dice_bce"),
        "network": plan.network.model_copy(update={"classes": len(regions)}),
    }
    return Plan.model_validate(plan.model_copy(update=change))


NESTED = plan_of_regions((3, 5), (5,), values=(3, 5))
PAIRS = plan_of_regions(
    *((2 * n + 1, 2 * n + 2) for n in range(6)),
    *((2 * n + 2,) for n in range(6)),
    values=tuple(range(1, 13)),
)


def test_of_regions_all_that_may_cover_a_voxel_are_kept_and_some_more():
    assert slots_of(make_plan()) == SLOTS
    assert slots_of(NESTED) == 2 + RIVALS
    assert len(PAIRS.regions) == 12
    assert slots_of(PAIRS) == 2 + RIVALS


def test_regions_come_as_sigmoids_of_the_network():
    configured = Configured(make_bundle(NESTED).configurations[0])
    case = preprocess(make_volume((16, 16, 16)), None, NESTED)
    logits = configured.engines[0].run(case.image[None])[0]
    found = probabilities(configured.sweep(case)).weights[:2]
    np.testing.assert_allclose(found, expit(logits), atol=1e-5)


def test_a_mask_of_regions_is_an_ordinary_label_map():
    prediction = Predictor(make_bundle(NESTED)).predict(make_volume())
    assert {label.value for label in prediction.label_map.labels} == {3, 5}
    assert set(np.unique(prediction.label_map.array)) <= {0, 3, 5}
    assert set(prediction.quality.expected_dice) == {"region 0", "region 1"}
    assert set(prediction.volumes_ml) == {"organ 3", "organ 5"}


class Boxes(Engine):
    """Logits of twelve regions: six boxes, each with a smaller one inside; noise of 1 %."""

    name = "boxes"
    precision = "fp32"

    def __init__(self, size):
        shares = np.random.default_rng(0).uniform(0, 0.01, (12, *size))
        for n in range(6):
            shares[n, 4 * n : 4 * n + 4, 1:9, 1:9] = 0.95
            shares[6 + n, 4 * n + 1 : 4 * n + 3, 3:7, 3:7] = 0.9
        self.whole = logit(shares).astype(np.float32)

    def run(self, batch):
        starts = batch[:, 0, 0, 0, 0].astype(int)
        return np.stack([self.whole[:, first : first + 8] for first in starts])


def test_few_slots_paint_what_all_of_them_would():
    """Twelve regions in five slots: what no voxel has room for is noise."""
    size = (24, 10, 10)
    network = Ensemble([Boxes(size)], activation="sigmoid")
    geometry = Geometry.from_spacing((1.0, 1.0, 1.0), size)
    image = np.broadcast_to(np.arange(24, dtype=np.float32)[None, :, None, None], (1, *size))
    spec = WindowSpec(patch_size=(8, 10, 10))
    finer = Geometry.from_spacing((0.7, 0.9, 1.1), (33, 10, 9), origin_mm=(0.1, 0.2, 0.3))
    values = tuple(range(1, 13))
    few, every = (
        sweep(image, network, spec, classes=12, slots=slots, geometry=geometry)
        for slots in (slots_of(PAIRS), 12)
    )
    assert few.classes.shape[0] == 5
    for target in (geometry, finer):
        painted = paint([probabilities(few)], target, values)
        expected = paint([probabilities(every)], target, values)
        np.testing.assert_array_equal(painted, expected)
        assert set(np.unique(painted)) == {0, *values}


@pytest.mark.parametrize("structures", [2, 7, 8, 20])
def test_what_is_foreseen_of_slots_is_what_they_take(structures):
    """Class numbers take memory only where not every class has a slot."""
    bundle = make_bundle(make_plan(values=tuple(range(1, structures + 1))))
    one = Configured(bundle.configurations[0])
    case = one.prepared(make_volume())
    top = TopClasses.empty(structures + 1, case.geometry, slots=slots_of(one.plan))
    numbers = 0 if top.is_dense else top.classes.nbytes
    assert one.to_sweep(case).whole_bytes == top.weights.nbytes + numbers
