"""The cascade: full resolution, with the mask of a coarser network as further channels.

Source:
    Isensee et al., Nature Methods 18, 2021, supplementary note 2; nnU-Net v2, `3d_cascade_fullres`.
"""

from collections.abc import Callable
from dataclasses import replace

from medseg.dataset.explain import Reason
from medseg.dataset.frame import Frame, WantedConfig
from medseg.errors import PlanError
from medseg.specs import Budget

TRAININGS = 2
"""How many trainings a cascade is: its first stage and itself, with the same time each."""


def cascade_frame(full: Frame, low_at: Callable[[], Frame], structures: int) -> Frame:
    """The frame of the cascade, which is that of `3d_full`.

    Args:
        full: At full resolution.
        low_at: Gives the frame of `3d_low`, or says why there is none.
        structures: Structures in the mask of the first stage.

    Raises:
        PlanError: If no `3d_low` is planned for these data.
    """
    try:
        low = low_at()
    except PlanError as error:
        why = f": {error.received}" if error.received else ""
        raise PlanError(
            "A cascade refines the mask of 3d_low at full resolution.",
            received=f"there is no 3d_low that it could refine{why}",
            cure="Use --config 3d_full or 2d.",
        ) from error
    seen = next(reason for reason in low.reasons if reason.what == "spacing").value
    channels = "one channel" if structures == 1 else f"{structures} channels"
    return replace(
        full,
        config="cascade",
        reasons=(
            Reason(
                what="configuration",
                value="cascade",
                why="Refines the mask of 3d_low at full resolution. It takes two trainings, so "
                "it is trained where it is asked for by name.",
            ),
            Reason(
                what="first stage",
                value=f"3d_low at {seen}",
                why=f"Its mask becomes {channels} beside the image, one for each structure.",
            ),
            *full.reasons[1:],
        ),
    )


def share_of(config: WantedConfig, budget: Budget) -> Budget:
    """What one training of a configuration may spend: half of the time, for a cascade."""
    if config != "cascade" or budget.seconds is None:
        return budget
    return budget.model_copy(update={"seconds": budget.seconds / TRAININGS})
