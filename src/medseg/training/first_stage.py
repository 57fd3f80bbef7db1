"""What the first stage of a cascade leaves: its networks, and which of them may look at a case."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from medseg.bundle import Configuration
from medseg.dataset.plan import Plan


@dataclass(frozen=True, eq=False)
class FirstStage:
    """Networks whose mask a cascade refines.

    Attributes:
        plan: How a case is prepared for them.
        members: One state dict for each network.
        seen: For each network, the cases that it trained on.
        memory_gb: Most memory that a process held which trained one of them.
        figures: What is told of them in `metrics.json`.
    """

    plan: Plan
    members: tuple[Mapping[str, Tensor], ...]
    seen: tuple[frozenset[str], ...]
    memory_gb: float
    figures: Mapping[str, Any]

    @property
    def whole(self) -> Configuration:
        """All of them, as a bundle has them."""
        return Configuration(self.plan, self.members)

    def unaware_of(self, cases: Iterable[str]) -> tuple[int, ...]:
        """Numbers of the networks that trained on none of these cases.

        They are all networks where each knows a case: of cases that were trained on, for want of
        others, figures are said to be so.
        """
        asked = set(cases)
        found = tuple(n for n, seen in enumerate(self.seen) if not asked & seen)
        return found or tuple(range(len(self.members)))

    def only(self, numbers: Iterable[int]) -> Configuration:
        """Some of the networks."""
        return Configuration(self.plan, tuple(self.members[n] for n in numbers))
