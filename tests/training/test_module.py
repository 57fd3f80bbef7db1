import copy

import pytest
import torch

from medseg.dataset.plan import Plan
from medseg.errors import CannotResume
from medseg.specs import MedTSpec, UNet3DSpec
from medseg.training.data import Batch
from medseg.training.module import Learner


def learner_of(plan: Plan, *, seed: int = 0, precision: str = "fp32", **recipe: object) -> Learner:
    changed = plan.model_copy(update={"recipe": plan.recipe.model_copy(update=recipe)})
    return Learner(changed, device="cpu", precision=precision, seed=seed)  # type: ignore[arg-type]


def batch_of(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(2, 1, 8, 8, 8, generator=generator)
    return image, (image[:, 0] > 0.5).long()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_seed_decides_the_first_weights_and_leaves_torchs_seed_alone(plan: Plan) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, same, other = (learner_of(plan, seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert equal(first.averaged_weights(), same.averaged_weights())
    assert not equal(first.averaged_weights(), other.averaged_weights())


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_learns_one_batch(plan: Plan, optimizer: str, precision: str) -> None:
    learner = learner_of(plan, optimizer=optimizer, precision=precision)
    losses = [learner.step(batch_of(), 5e-3)[0] for _ in range(40)]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd"])
def test_restored_it_goes_on_bit_for_bit(plan: Plan, optimizer: str) -> None:
    learner = learner_of(plan, optimizer=optimizer)
    for n in range(3):
        learner.step(batch_of(n), 1e-3)
    state = copy.deepcopy(learner.state())
    twin = learner_of(plan, seed=9, optimizer=optimizer)
    twin.restore(state, learner.scaler_state(), learner.steps)
    for n in range(3, 6):
        assert learner.step(batch_of(n), 1e-3)[0] == twin.step(batch_of(n), 1e-3)[0]
    assert equal(learner.state(), twin.state())
    assert learner.steps == twin.steps == 6


def test_running_statistics_are_averaged_with_the_weights(plan: Plan) -> None:
    spec = UNet3DSpec(
        dims=3, in_channels=1, classes=3, features=(2, 4), strides=((1, 1, 1), (2, 2, 2))
    )
    changed = plan.model_copy(update={"network": spec})
    learner = learner_of(changed, ema_decay=0.9)
    for n in range(3):
        learner.step(batch_of(n), 1e-3)
    state = copy.deepcopy(learner.state())
    name = "encoder.0.1.running_mean"
    last, averaged = state[f"network.{name}"], learner.averaged_weights()[name]
    assert not torch.equal(averaged, last)
    torch.testing.assert_close(averaged, state[f"average.{name}"])
    twin = learner_of(changed, seed=9, ema_decay=0.9)
    twin.restore(state, learner.scaler_state(), learner.steps)
    assert learner.step(batch_of(4), 1e-3)[0] == twin.step(batch_of(4), 1e-3)[0]
    assert equal(learner.state(), twin.state())


def test_gates_wait_for_their_share_of_the_training(plan: Plan) -> None:
    spec = MedTSpec(
        kind="medt_gated",
        dims=3,
        in_channels=1,
        classes=2,
        grid=(32, 16, 16),
        width=2,
        heads=2,
        stem_width=2,
        blocks=(1, 1, 1, 1),
        gates_frozen_share=0.5,
    )
    learner = learner_of(plan.model_copy(update={"network": spec}))
    image = torch.rand(1, 1, 32, 16, 16)
    batch = image, (image[:, 0] > 0.5).long()

    def gates() -> list[float]:
        return [
            float(t)
            for name, t in learner.state().items()
            if "network." in name and ".gates." in name
        ]

    first = gates()
    assert len(first) == 4 * 3 * 4
    learner.at_share(0.4)
    learner.step(batch, 1e-2)
    assert gates() == first
    learner.at_share(0.5)
    learner.step(batch, 1e-2)
    assert all(now != then for now, then in zip(gates(), first, strict=True))


def test_average_forgets_the_start_and_follows_slowly(plan: Plan) -> None:
    learner = learner_of(plan, ema_decay=0.99)
    start = learner.averaged_weights()
    for _ in range(20):
        learner.step(batch_of(), 1e-2)
    average, state = learner.averaged_weights(), learner.state()
    name = next(iter(average))
    now = state[f"network.{name}"]
    assert not torch.equal(average[name], now)
    assert (average[name] - now).norm() < 0.7 * (start[name] - now).norm()


def test_without_average_the_last_weights_are_kept(plan: Plan) -> None:
    learner = learner_of(plan, ema_decay=0.0)
    learner.step(batch_of(), 1e-2)
    name = next(iter(learner.averaged_weights()))
    assert torch.equal(learner.averaged_weights()[name], learner.state()[f"network.{name}"])


def test_a_bad_gradient_is_skipped(plan: Plan) -> None:
    learner = learner_of(plan)
    learner.step(batch_of(), 1e-3)
    before = copy.deepcopy(learner.state())
    image, labels = batch_of()
    learner.step((image * float("nan"), labels), 1e-3)
    after = learner.state()
    assert all(torch.equal(before[n], after[n]) for n in before if n.startswith("network."))
    assert torch.isfinite(torch.tensor(learner.step(batch_of(), 1e-3)[0]))


def test_state_of_another_network_is_refused(plan: Plan) -> None:
    wider = plan.network.model_copy(update={"features": (8, 16)})
    other = learner_of(plan.model_copy(update={"network": wider}))
    with pytest.raises(CannotResume, match="fits the network"):
        learner_of(plan).restore(other.state(), {}, 0)


def gradients(learner: Learner, batch: Batch) -> list[torch.Tensor]:
    """The gradients of a step, before they are clipped."""
    found: list[torch.Tensor] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            learner._fabric,
            "clip_gradients",
            lambda module, *_, **__: (
                found.extend(p.grad.clone() for p in module.parameters()),
                torch.tensor(1.0),
            )[1],
        )
        learner.step(batch, 0.0)
    return found


def short_of_memory(learner: Learner, error: Exception, most: int) -> list[int]:
    """Let the network fail with more than so many samples; returns how many each call had."""
    sizes: list[int] = []

    def refuse(_module: object, inputs: tuple[torch.Tensor]) -> None:
        sizes.append(len(inputs[0]))
        if len(inputs[0]) > most:
            raise error

    learner._network.register_forward_pre_hook(refuse)
    return sizes


FULL = [
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", FULL)
@pytest.mark.parametrize("samples", [4, 5])
def test_without_memory_the_batch_is_halved_and_its_gradient_stays(
    plan: Plan, error: Exception, samples: int
) -> None:
    image = torch.randn(samples, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    batch = image, (image[:, 0] > 0.5).long()
    plan = plan.model_copy(update={"loss": plan.loss.model_copy(update={"batch_dice": False})})
    whole, short = learner_of(plan), learner_of(plan)
    sizes = short_of_memory(short, error, most=2)
    found = gradients(short, batch)
    assert sizes[0] == samples
    assert sum(sizes[-2:]) == samples or sum(sizes[-3:]) == samples
    assert short.parts == (2 if samples == 4 else 4)
    for one, other in zip(gradients(whole, batch), found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert whole.step(batch, 0.0).loss == pytest.approx(short.step(batch, 0.0).loss, rel=1e-5)
    assert short.step(batch, 0.0).logits.shape[0] == samples


def test_dice_over_the_batch_is_counted_over_each_part(plan: Plan) -> None:
    plan = plan.model_copy(update={"loss": plan.loss.model_copy(update={"batch_dice": True})})
    halves, whole = learner_of(plan), learner_of(plan)
    halves.parts = 2
    image, labels = batch_of()
    alone = [whole.step((image[n : n + 1], labels[n : n + 1]), 0.0).loss for n in (0, 1)]
    assert halves.step((image, labels), 0.0).loss == pytest.approx(sum(alone) / 2, rel=1e-5)
    assert halves.step((image, labels), 0.0).loss != whole.step((image, labels), 0.0).loss


@pytest.mark.parametrize("error", FULL)
def test_a_sample_that_is_too_large_is_an_error(plan: Plan, error: Exception) -> None:
    learner = learner_of(plan)
    short_of_memory(learner, error, most=0)
    with pytest.raises(RuntimeError, match="memory"):
        learner.step(batch_of(), 1e-3)


def test_other_errors_are_not_taken_for_want_of_memory(plan: Plan) -> None:
    learner = learner_of(plan)
    sizes = short_of_memory(learner, RuntimeError("shapes differ"), most=0)
    with pytest.raises(RuntimeError, match="shapes differ"):
        learner.step(batch_of(), 1e-3)
    assert (sizes, learner.parts) == ([2], 1)
