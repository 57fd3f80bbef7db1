"""All configurations of a data set side by side, each planned or with the reason why it is not."""

from dataclasses import dataclass
from typing import Any

from medseg.dataset.cascade import share_of
from medseg.dataset.cost import parameter_count, training_memory_bytes
from medseg.dataset.effort import effort, step_seconds
from medseg.dataset.fingerprint import Fingerprint
from medseg.dataset.frame import Config
from medseg.dataset.plan import Plan, make_plan
from medseg.errors import PlanError
from medseg.specs import Budget

CONFIGS: tuple[Config, ...] = ("2d", "3d_full", "3d_low", "cascade")
"""What can be planned, in the order it is shown."""


@dataclass(frozen=True)
class Configuration:
    """One way to see a data set.

    Attributes:
        name: Its name, which `--config` takes.
        plan: How it would be trained; None where it is not planned.
        why: Why it is planned, or why not.
        is_chosen: Whether "auto" takes it.
    """

    name: Config
    plan: Plan | None
    why: str
    is_chosen: bool = False

    def facts(self, cases: int) -> dict[str, Any]:
        """Its numbers, ready for JSON: parameters, memory in bytes, seconds of a step and so on.

        Args:
            cases: Training cases.
        """
        named: dict[str, Any] = {"config": self.name, "chosen": self.is_chosen, "why": self.why}
        if self.plan is None:
            return named | {"planned": False}
        plan, budget = self.plan, self.plan.budget
        size = (plan.network, plan.patch_size, plan.recipe.batch_size)
        return named | {
            "planned": True,
            "spacing_mm": plan.spacing_mm,
            "patch_size": plan.patch_size,
            "batch_size": plan.recipe.batch_size,
            "parameters": parameter_count(plan.network),
            "memory_bytes": training_memory_bytes(*size, device=budget.device),
            "step_seconds": round(step_seconds(*size, budget), 4),
            "steps": effort(*size, budget, cases).steps,
        }


def configurations(
    fingerprint: Fingerprint, budget: Budget, arch: str = "plain_unet"
) -> tuple[Configuration, ...]:
    """Plan every configuration that applies; see `make_plan`.

    Each is planned for the whole budget, but the cascade: its first stage takes half of it.

    Raises:
        PlanError: If not even the one that "auto" takes can be planned.
    """
    chosen = make_plan(fingerprint, budget, arch=arch)
    found = []
    for name in CONFIGS:
        try:
            plan = make_plan(fingerprint, share_of(name, budget), config=name, arch=arch)
        except PlanError as error:
            found.append(Configuration(name, None, _why_not(error)))
            continue
        taken = name == chosen.config
        reason = (chosen if taken else plan).reasons[0]
        found.append(Configuration(name, plan, _WHY.get(name, reason.why), taken))
        if taken:
            found[-1] = Configuration(name, plan, reason.why, taken)
    return tuple(found)


_WHY = {
    "2d": "Slices one by one, each at its own place.",
    "3d_full": "Volumes at full resolution.",
}
"""Of configurations that can be had whatever the data."""


def _why_not(error: PlanError) -> str:
    """What stands in the way, as a sentence."""
    received = error.received
    return f"{received[:1].upper()}{received[1:]}." if received else error.rule
