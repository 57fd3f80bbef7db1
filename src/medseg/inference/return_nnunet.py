"""A mask returns from the network's grid as nnU-Net's does: where slices are apart, one by one."""

from medseg.dataset.plan import Plan
from medseg.space.nnunet import apart_axis, returning
from medseg.space.votes import TopClasses
from medseg.volume.geometry import Geometry


def as_nnunet_returns(top: TopClasses, plan: Plan, target: Geometry) -> TopClasses:
    """What elects a mask on the grid of a case as nnU-Net's interpolated logits would.

    Args:
        top: Evidence of classes or regions on the network's grid.
        plan: What the case was prepared by.
        target: The grid of the case.

    Returns:
        The same with as many slices as the case has, where nnU-Net takes the nearest slice; `top`
        itself elsewhere, since evidence is interpolated as logits are.
    """
    return returning(top, target, slices_apart(top.geometry, plan, target))


def slices_apart(grid: Geometry, plan: Plan, target: Geometry) -> int | None:
    """The axis of the network's grid across which nnU-Net keeps slices apart; None without one."""
    own_mm = target.reordered(*target.steps_to(grid.orientation)).spacing_mm
    i, j, k = plan.spacing_mm
    return apart_axis((i, j, grid.spacing_mm[2] if plan.config == "2d" else k), own_mm)
