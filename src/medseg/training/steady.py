"""Noticing that a training goes wrong, and the state that it then goes back to.

Two things are wrong: gradients that are no numbers for many steps in a row, and a loss that stays
far above where it was. Then the weights go back to the last state that was good, and the learning
rate is halved for the rest. Everything here follows from the losses of the steps, never from the
time, so that a killed training meets the same trouble at the same step again.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from torch import Tensor

from medseg.errors import TrainingDiverged
from medseg.specs import FROZEN
from medseg.training.checkpoint import Checkpoint
from medseg.training.module import Learner, Step

KEEP_EVERY = 50
"""Steps between two states that are kept to come back to."""

BAD_STEPS = 20
"""Steps in a row without a finite gradient that are skipped; the last one of them is trouble.

fp16 may need 16 of them: its scale begins at 2^16 and is halved by each."""

FAR_STEPS = 20
"""Steps that the loss must be far above its level: trouble; each step below takes one back."""

_FAR_SPREADS, _FAR_SHARE = 4.0, 0.5
"""Far above: by four times the usual distance from the level, and by half the level."""

_MEMORY_STEPS, _FIRST_SPREAD = 50, 0.25
"""How many steps the level remembers, and its spread, as a share of it, before much is known."""

MOST_ROLLBACKS = 3
"""After so many, further trouble ends the training."""

RATE_CUT = 0.5
"""What the learning rate is multiplied with each time."""

_BACK = "back."
"""What the names of tensors begin with that belong to the good state and not to the present."""

Trouble = Literal["not-finite", "diverged"]


class Incident(BaseModel):
    """A moment from which on training went otherwise than planned.

    Attributes:
        kind: Gradients without finite numbers, a diverging loss, or a batch too large for memory.
        step: Steps done when it was noticed.
        back_to: The step that training went on from.
        rate_factor: Share of the planned learning rate from then on.
        parts: Parts in which each batch is computed from then on.
    """

    model_config = FROZEN

    kind: Literal["not-finite", "diverged", "out-of-memory"]
    step: int
    back_to: int
    rate_factor: float
    parts: int

    @property
    def sentence(self) -> str:
        """What happened and what was done, for people."""
        if self.kind == "out-of-memory":
            return (
                f"The memory was full at step {self.step}: each batch is computed in {self.parts} "
                "parts from there on, whose gradients add up to the batch's."
            )
        what = "had no finite gradient" if self.kind == "not-finite" else "had a diverging loss"
        return (
            f"Training {what} at step {self.step}: it went back to step {self.back_to} and on "
            f"with {self.rate_factor:g} of the planned learning rate."
        )


@dataclass(frozen=True, eq=False)
class Moment:
    """A good state.

    Attributes:
        step: Steps done.
        tensors: All that the next step depends on, on the CPU; nobody else writes to them.
        scaler: Numbers of the gradient scaler.
        watch: What the watch knew then.
    """

    step: int
    tensors: Mapping[str, Tensor]
    scaler: Mapping[str, Any]
    watch: Mapping[str, float]


class Watch:
    """Follows the loss of one training, and says when it is in trouble.

    The level is the loss averaged over the last steps, the spread its mean distance from that
    level. Losses far above count for neither, so that a jump is compared with what was before it.
    """

    def __init__(self) -> None:
        self._seen = self._bad = self._far = 0
        self._level = self._spread = 0.0

    @property
    def is_calm(self) -> bool:
        """Whether the last step was as good as any: only such states are kept."""
        return self._bad == self._far == 0

    def see(self, loss: float, *, is_finite: bool) -> Trouble | None:
        """Take note of a step.

        Args:
            loss: The step's loss.
            is_finite: Whether its gradient was.

        Returns:
            The trouble that training is in with this step.
        """
        if not (is_finite and math.isfinite(loss)):
            self._bad += 1
            return "not-finite" if self._bad >= BAD_STEPS else None
        self._bad = 0
        if self._is_far(loss):
            self._far += 1
            return "diverged" if self._far >= FAR_STEPS else None
        self._far = max(0, self._far - 1)
        self._follow(loss)
        return None

    def facts(self) -> dict[str, float]:
        """All that it knows, ready for JSON."""
        return {
            "seen": self._seen,
            "bad": self._bad,
            "far": self._far,
            "level": self._level,
            "spread": self._spread,
        }

    def recall(self, facts: Mapping[str, float]) -> None:
        """Know what another watch knew."""
        self._seen, self._bad, self._far = (int(facts[n]) for n in ("seen", "bad", "far"))
        self._level, self._spread = facts["level"], facts["spread"]

    def _is_far(self, loss: float) -> bool:
        margin = max(_FAR_SPREADS * self._spread, _FAR_SHARE * abs(self._level))
        return self._seen > 0 and loss > self._level + margin

    def _follow(self, loss: float) -> None:
        if self._seen == 0:
            self._level, self._spread = loss, _FIRST_SPREAD * abs(loss)
        weight = 1 / min(self._seen + 1, _MEMORY_STEPS)
        self._spread += weight * (abs(loss - self._level) - self._spread) if self._seen else 0.0
        self._level += weight * (loss - self._level)
        self._seen += 1


class Keeper:
    """Watches a training, keeps its last good state, and brings it back there.

    Args:
        learner: What is trained, as it stands: a good state.
        past: The checkpoint that it was restored from, if it was.
    """

    def __init__(self, learner: Learner, past: Checkpoint | None = None) -> None:
        facts = past.facts if past else {}
        self.incidents = tuple(Incident(**one) for one in facts.get("incidents", ()))
        self._learner, self._watch = learner, Watch()
        learner.parts = int(facts.get("parts", 1))
        if "watch" in facts:
            self._watch.recall(facts["watch"])
        back = facts.get("back")
        self._good = _earlier(past, back) if past and back else self._moment()

    @property
    def rate_factor(self) -> float:
        """Share of the planned learning rate."""
        return self.incidents[-1].rate_factor if self.incidents else 1.0

    @property
    def good_step(self) -> int:
        """Steps after which the last good state was kept."""
        return self._good.step

    @property
    def is_calm(self) -> bool:
        """Whether the state may be kept as far as the last losses tell."""
        return self._watch.is_calm

    def see(self, step: Step) -> Trouble | None:
        """Take note of a step, and keep the state now and then, if it is good.

        Returns:
            The trouble that training is in.
        """
        trouble = self._watch.see(step.loss, is_finite=step.is_finite)
        if trouble or self._learner.steps % KEEP_EVERY or not self._watch.is_calm:
            return trouble
        if not self._learner.is_sound():
            return "not-finite"
        self._good = self._moment()
        return None

    def note_parts(self) -> Incident:
        """Record that batches are computed in more parts now."""
        step = self._learner.steps
        return self._record("out-of-memory", step, step, self.rate_factor)

    def go_back(self, trouble: Trouble) -> Incident:
        """Bring the training back to its last good state, with half the learning rate.

        Raises:
            TrainingDiverged: If it was brought back too often.
        """
        step, good = self._learner.steps, self._good
        factor = _next_rate_factor(self.incidents, trouble, step)
        self._learner.restore(good.tensors, dict(good.scaler), good.step)
        self._watch.recall(good.watch)
        return self._record(trouble, step, good.step, factor)

    def state(self) -> tuple[int, dict[str, Tensor], dict[str, Any]]:
        """What a checkpoint needs: steps, tensors and facts.

        While the loss is far from its level, that is the last good state; else the present one,
        with the last good one beside it.
        """
        facts: dict[str, Any] = {
            "incidents": [one.model_dump() for one in self.incidents],
            "parts": self._learner.parts,
        }
        good, step = self._good, self._learner.steps
        if not self.is_calm or step == good.step:
            facts |= {"scaler": good.scaler, "watch": good.watch}
            return good.step, dict(good.tensors), facts
        facts |= {"scaler": self._learner.scaler_state(), "watch": self._watch.facts()}
        facts["back"] = {"step": good.step, "scaler": good.scaler, "watch": good.watch}
        back = {f"{_BACK}{name}": tensor for name, tensor in good.tensors.items()}
        return step, self._learner.state() | back, facts

    def _moment(self) -> Moment:
        tensors = {
            name: tensor.detach().to("cpu", copy=True)
            for name, tensor in self._learner.state().items()
        }
        watch, scaler = self._watch.facts(), self._learner.scaler_state()
        return Moment(self._learner.steps, tensors, scaler, watch)

    def _record(
        self,
        kind: Literal["not-finite", "diverged", "out-of-memory"],
        step: int,
        back_to: int,
        factor: float,
    ) -> Incident:
        incident = Incident(
            kind=kind, step=step, back_to=back_to, rate_factor=factor, parts=self._learner.parts
        )
        self.incidents = (*self.incidents, incident)
        return incident


def _earlier(past: Checkpoint, back: Mapping[str, Any]) -> Moment:
    """The good state that lies in a checkpoint beside a later one."""
    tensors = {
        name.removeprefix(_BACK): tensor
        for name, tensor in past.tensors.items()
        if name.startswith(_BACK)
    }
    return Moment(back["step"], tensors, back["scaler"], back["watch"])


def _next_rate_factor(incidents: tuple[Incident, ...], trouble: Trouble, step: int) -> float:
    """Share of the planned learning rate after one more trouble.

    Raises:
        TrainingDiverged: If it was one too often.
    """
    rollbacks = [one for one in incidents if one.kind != "out-of-memory"]
    if len(rollbacks) >= MOST_ROLLBACKS:
        what = "no finite gradient" if trouble == "not-finite" else "a diverging loss"
        raise TrainingDiverged(
            f"A training goes back to a good state {MOST_ROLLBACKS} times at most.",
            received=f"{what} again at step {step}, with {rollbacks[-1].rate_factor:g} of the "
            "planned learning rate",
            cure="Train with --precision fp32 or a --plan with a lower learning_rate, or look for "
            "extreme intensities: medseg dataset check DATASET.",
        )
    return RATE_CUT * (rollbacks[-1].rate_factor if rollbacks else 1.0)
