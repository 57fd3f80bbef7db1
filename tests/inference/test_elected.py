"""One class for each voxel, whoever says it: classes by a vote, regions painted in order."""

import numpy as np
from small import make_bundle, make_plan, make_volume

from medseg.dataset.plan import Plan
from medseg.dataset.preprocess import preprocess
from medseg.inference.configured import Configured
from medseg.inference.elected import elected
from medseg.specs import LossSpec
from medseg.volume.regions import PaintedRegion


def test_on_its_own_grid_the_heaviest_class_wins():
    plan = make_plan()
    configured = Configured(make_bundle(plan).configurations[0])
    case = preprocess(make_volume(), None, plan)
    top = configured.sweep(case)
    heaviest = np.take_along_axis(top.classes, top.weights.argmax(0)[None], 0)[0]
    np.testing.assert_array_equal(elected([top], case.geometry, plan.labels, ()), heaviest)


def test_regions_become_the_classes_that_they_paint():
    plan = make_plan()
    whole, core = (
        PaintedRegion(name=f"region {v}", values=values, painted=v)
        for v, values in ((1, (1, 2)), (2, (2,)))
    )
    network = plan.network.model_copy(update={"classes": 2})
    change = {"regions": (whole, core), "loss": LossSpec(kind="dice_bce"), "network": network}
    nested = Plan.model_validate(plan.model_copy(update=change))
    configured = Configured(make_bundle(nested).configurations[0])
    case = preprocess(make_volume((16, 16, 16)), None, nested)
    found = elected([configured.sweep(case)], case.geometry, nested.labels, nested.regions)
    assert found.shape == (16, 16, 16)
    assert set(np.unique(found)) <= {0, 1, 2}
