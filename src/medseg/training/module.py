"""The network while it learns: forward, backward, optimizer and averaged weights."""

import logging
from collections.abc import Mapping
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

from medseg.dataset.plan import Plan
from medseg.errors import CannotResume, TrainingError
from medseg.losses import build_loss
from medseg.networks.build import build
from medseg.networks.network import Network
from medseg.networks.start import Start
from medseg.specs import RecipeSpec
from medseg.training.data import Batch
from medseg.training.muon import Muon

Precision = Literal["fp32", "bf16", "fp16"]
"""Arithmetic of the forward and backward pass; weights are float32 always."""

_FABRIC_NAMES: dict[Precision, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "fp32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}
_SGD_MOMENTUM = 0.99
_BAD_STEPS = 50
"""Steps in a row without a finite gradient, after which training gives up."""

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


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
        start: Weights to start from, instead of those that the seed gives.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        device: str,
        precision: Precision,
        seed: int,
        start: Start | None = None,
    ) -> None:
        self._recipe = plan.recipe
        self._fabric = Fabric(accelerator=device, devices=1, precision=_FABRIC_NAMES[precision])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build(plan.network)
        if start is not None:
            start.fill(network, plan.network)
        self._network = network.train().to(self._fabric.device)
        self._optimizer = _optimizer(self._network, plan.recipe, scaled=precision == "fp16")
        self._module, self._stepper = self._fabric.setup(self._network, self._optimizer)
        self._loss = build_loss(plan.loss).to(self._fabric.device)
        self._parameters = dict(self._network.named_parameters())
        self._averaged = self._parameters | {
            name: b for name, b in self._network.named_buffers() if b.is_floating_point()
        }
        self._average = {name: t.detach().clone() for name, t in self._averaged.items()}
        self.steps = 0
        self._bad_steps = 0

    @property
    def device(self) -> torch.device:
        """Where it learns."""
        return next(iter(self._parameters.values())).device

    def at_share(self, share: float) -> None:
        """Tell the network, before a step, how much of the training is done (0 to 1)."""
        self._network.at_share(share)

    def step(self, batch: Batch, rate: float) -> tuple[float, Tensor]:
        """Learn from one batch.

        Args:
            batch: Images and class indices, on any device.
            rate: Learning rate of this step.

        Returns:
            The loss, and the finest logits without their gradient.

        Raises:
            TrainingError: If the gradient was not finite for many steps in a row.
        """
        image, labels = (part.to(self.device, non_blocking=True) for part in batch)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group.get("rate_factor", 1.0)
        outputs = self._module(image)
        loss = self._loss(outputs, labels)
        self._fabric.backward(loss)
        norm = self._fabric.clip_gradients(
            self._module,
            self._stepper,
            max_norm=self._recipe.gradient_clip,
            error_if_nonfinite=False,
        )
        value = float(loss.detach())
        self._update(bool(torch.isfinite(norm)))
        finest = outputs[0] if isinstance(outputs, tuple) else outputs
        return value, finest.detach()

    def averaged_weights(self) -> dict[str, Tensor]:
        """The weights to keep: the running average, or the last ones if there is none; a copy."""
        kept = dict(self._network.state_dict())
        if self._recipe.ema_decay > 0:
            kept.update(self._average)
        return {name: tensor.detach().cpu().clone() for name, tensor in kept.items()}

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, by name."""
        tensors = {f"network.{name}": t for name, t in self._network.state_dict().items()}
        tensors |= {f"average.{name}": t for name, t in self._average.items()}
        for name, parameter in self._parameters.items():
            for kind, moment in self._optimizer.state.get(parameter, {}).items():
                if isinstance(moment, Tensor):
                    tensors[f"optimizer.{kind}.{name}"] = moment
        return tensors

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
            states.setdefault(in_order.index(name), {})[kind] = moment
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": states, "param_groups": groups})

    def _update(self, finite: bool) -> None:
        """Take the step, unless its gradient is not finite: then fp16 scales down, others skip."""
        self._bad_steps = 0 if finite else self._bad_steps + 1
        if self._bad_steps >= _BAD_STEPS:
            raise TrainingError(
                "The gradient must stay finite.",
                received=f"{_BAD_STEPS} steps in a row without one",
                cure="Train with --precision fp32, or look for extreme intensities: "
                "medseg dataset check DATASET.",
            )
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


def _optimizer(network: Network, recipe: RecipeSpec, *, scaled: bool) -> Optimizer:
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
