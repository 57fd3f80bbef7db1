"""The network while it learns: forward, backward, optimizer and averaged weights."""

import logging
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

from medseg.dataset.plan import Plan
from medseg.errors import CannotResume
from medseg.losses import build_loss
from medseg.networks.build import build
from medseg.networks.network import Network
from medseg.networks.start import Start
from medseg.specs import RecipeSpec
from medseg.training.batch_dice import BatchOverlap
from medseg.training.data import Batch
from medseg.training.guide import LESSON, Guide, Lesson, without_lesson
from medseg.training.muon import Muon
from medseg.training.team import ALONE, Health, Team

Precision = Literal["fp32", "bf16", "fp16"]
"""Arithmetic of the forward and backward pass; weights are float32 always."""

_FABRIC_NAMES: dict[Precision, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "fp32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}
_SGD_MOMENTUM = 0.99

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


class Step(NamedTuple):
    """What came out of one step.

    Attributes:
        loss: The loss of the batch, over all processes.
        logits: The finest logits of this process's part, without their gradient.
        is_finite: Whether the gradient was; otherwise the weights are as they were.
    """

    loss: float
    logits: Tensor
    is_finite: bool


class Learner:
    """One network, its optimizer and the running average of its weights.

    The average starts as the weights themselves and forgets faster at first, so that it carries
    nothing of the random start: after t steps it decays by min(ema_decay, (1 + t) / (10 + t)).
    Running statistics of batch normalisation are averaged with them.

    Args:
        plan: Network, loss and recipe.
        device: "cpu" or "cuda".
        precision: Arithmetic.
        seed: Seed of the first weights.
        team: The processes that learn with this one.
        gpu: Which GPU.
        start: Weights to start from, instead of those that the seed gives.
        guide: Whose lesson is learned besides the labels.

    Attributes:
        overlap: Counts how well a batch was segmented.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        device: str,
        precision: Precision,
        seed: int,
        team: Team = ALONE,
        gpu: int = 0,
        start: Start | None = None,
        guide: Guide | None = None,
    ) -> None:
        self._recipe, self._team = plan.recipe, team
        devices: int | list[int] = [gpu] if device == "cuda" else 1
        self._fabric = Fabric(
            accelerator=device, devices=devices, precision=_FABRIC_NAMES[precision]
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build(plan.network)
            self._lesson: Lesson | None = guide.lesson(network, plan) if guide else None
        if start is not None:
            start.fill(network, plan.network)
        if self._lesson is not None:
            network.add_module(LESSON, self._lesson)
        self._network = network.train().to(self._fabric.device)
        self._optimizer = build_optimizer(self._network, plan.recipe, scaled=precision == "fp16")
        self._module, self._stepper = self._fabric.setup(self._network, self._optimizer)
        loss = build_loss(plan.loss, regions=plan.region_classes, ignored=plan.ignored_class)
        self._loss = loss.to(self._fabric.device)
        self.overlap = BatchOverlap(plan.region_classes, ignored=plan.ignored_class)
        self._parameters = dict(self._network.named_parameters())
        self._averaged = self._parameters | {
            name: b for name, b in self._network.named_buffers() if b.is_floating_point()
        }
        self._average = {name: t.detach().clone() for name, t in self._averaged.items()}
        self.steps = 0
        self.parts = 1

    @property
    def device(self) -> torch.device:
        """Where it learns."""
        return next(iter(self._parameters.values())).device

    def at_share(self, share: float) -> None:
        """Tell the network, before a step, how much of the training is done (0 to 1)."""
        self._network.at_share(share)

    def step(self, batch: Batch, rate: float) -> Step:
        """Learn from one batch.

        A batch that is too large for the memory is halved, and halved again: `parts` says into how
        many parts each is cut from then on. Their gradients add up to the batch's where the loss
        counts each sample; Dice over the batch is counted over each part.

        Args:
            batch: Images and class indices, on any device.
            rate: Learning rate of this step.

        Raises:
            RuntimeError: If a single sample is too large for the memory.
            MedsegError: If another process failed.
        """
        image, labels = (part.to(self.device, non_blocking=True) for part in batch)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group.get("rate_factor", 1.0)
        found = None
        while found is None:
            found = self._gradients(image, labels)
        loss, finest = found
        norm = self._fabric.clip_gradients(
            self._module,
            self._stepper,
            max_norm=self._recipe.gradient_clip,
            error_if_nonfinite=False,
        )
        is_finite = bool(torch.isfinite(norm))
        self._update(is_finite)
        return Step(float(loss), finest, is_finite)

    def _gradients(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor] | None:
        """The gradients of a batch, summed over all processes.

        Returns:
            Its loss and this process's finest logits; None if a process ran out of memory, after
            which there are twice as many parts.
        """
        error: Exception | None = None
        found: tuple[Tensor, Tensor] | None = None
        try:
            found = self._own_gradients(image, labels)
        except Exception as raised:
            error = raised
        full = error is not None and is_out_of_memory(error)
        if error is not None and not (full and self.parts < len(image)):
            self._team.worst(Health.FAILED, error)
            raise error
        worst = self._team.worst(Health.NO_MEMORY if full else Health.WELL)
        if worst == Health.WELL and found is not None:
            self._add_up(found[0])
            return found
        del error, found
        self.parts *= 2
        self._stepper.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _own_gradients(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and finest logits of this process's part, after its backward pass."""
        whole = len(image) if self._team.size == 1 else self._recipe.batch_size
        loss, finest = torch.zeros((), device=self.device), []
        cut = zip(image.chunk(self.parts), labels.chunk(self.parts), strict=True)
        for part, truth in cut:
            outputs = self._module(part)
            finer = outputs[0] if isinstance(outputs, tuple) else outputs
            share = self._loss(outputs, truth) * (len(part) / whole)
            if self._lesson is not None:
                share = share + self._lesson(part, finer, truth) * (len(part) / whole)
            self._fabric.backward(share)
            loss += share.detach()
            finest.append(finer.detach())
        return loss, torch.cat(finest) if len(finest) > 1 else finest[0]

    def _add_up(self, loss: Tensor) -> None:
        """Sum gradients and loss over all processes, and average running statistics."""
        if self._team.size == 1:
            return
        gradients = [p.grad for p in self._parameters.values() if p.grad is not None]
        statistics = [b for b in self._network.buffers() if b.is_floating_point()]
        for buffer in statistics:
            buffer.div_(self._team.size)
        self._team.add_up([*gradients, *statistics, loss])

    def averaged_weights(self) -> dict[str, Tensor]:
        """The weights to keep: the running average, or the last ones if there is none; a copy."""
        kept = dict(self._network.state_dict())
        if self._recipe.ema_decay > 0:
            kept.update(self._average)
        return {
            name: tensor.detach().cpu().clone()
            for name, tensor in kept.items()
            if without_lesson(name)
        }

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, by name."""
        tensors = {f"network.{name}": t for name, t in self._network.state_dict().items()}
        tensors |= {f"average.{name}": t for name, t in self._average.items()}
        for name, parameter in self._parameters.items():
            for kind, moment in self._optimizer.state.get(parameter, {}).items():
                if isinstance(moment, Tensor):
                    tensors[f"optimizer.{kind}.{name}"] = moment
        return tensors

    def is_sound(self) -> bool:
        """Whether all numbers of its state are finite."""
        numbers = [t for t in self.state().values() if t.is_floating_point()]
        return bool(torch.stack(torch._foreach_norm(numbers)).isfinite().all())

    def scaler_state(self) -> dict[str, Any]:
        """The gradient scaler's numbers; empty without fp16."""
        return dict(self._fabric.strategy.precision.state_dict())

    def restore(self, tensors: Mapping[str, Tensor], scaler: dict[str, Any], steps: int) -> None:
        """Go back to a state.

        Raises:
            CannotResume: If it belongs to another network.
        """
        try:
            self._network.load_state_dict(_part(tensors, "network."))
            average = _part(tensors, "average.")
            for name, tensor in self._average.items():
                tensor.copy_(average[name])
            self._restore_moments(_part(tensors, "optimizer."))
        except (KeyError, RuntimeError) as error:
            raise CannotResume(
                "A checkpoint fits the network of its plan.",
                received=" ".join(str(error).split())[:200],
                cure="Start anew in another folder.",
            ) from error
        if scaler:
            self._fabric.strategy.precision.load_state_dict(scaler)
        self.steps = steps

    def _restore_moments(self, moments: Mapping[str, Tensor]) -> None:
        names = {parameter: name for name, parameter in self._parameters.items()}
        in_order = [names[p] for group in self._optimizer.param_groups for p in group["params"]]
        states: dict[int, dict[str, Tensor]] = {}
        for key, moment in moments.items():
            kind, name = key.split(".", 1)
            states.setdefault(in_order.index(name), {})[kind] = moment.clone()
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": states, "param_groups": groups})

    def _update(self, finite: bool) -> None:
        """Take the step, unless its gradient is not finite: then fp16 scales down, others skip."""
        if finite or self.scaler_state():
            self._stepper.step()
        self._stepper.zero_grad()
        self.steps += 1
        if self._recipe.ema_decay > 0:
            decay = min(self._recipe.ema_decay, (1 + self.steps) / (10 + self.steps))
            torch._foreach_lerp_(
                list(self._average.values()),
                [t.detach() for t in self._averaged.values()],
                1.0 - decay,
            )


def is_out_of_memory(error: Exception) -> bool:
    """Whether this is how torch says that there is no memory left, on a GPU or a CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def build_optimizer(network: Network, recipe: RecipeSpec, *, scaled: bool) -> Optimizer:
    """The recipe's optimizer, fused where gradients need no unscaling before they are clipped."""
    if recipe.optimizer == "muon":
        return Muon(
            network,
            outer=(*network.stems, network.head),
            lr=recipe.learning_rate,
            hidden_lr=recipe.muon_learning_rate,
            weight_decay=recipe.weight_decay,
        )
    if recipe.optimizer == "adamw":
        return AdamW(
            network.parameters(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=not scaled,
        )
    return SGD(
        network.parameters(),
        lr=recipe.learning_rate,
        momentum=_SGD_MOMENTUM,
        weight_decay=recipe.weight_decay,
        nesterov=True,
        fused=not scaled,
    )


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
