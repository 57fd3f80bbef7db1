import pytest
import torch

from medseg.dataset.plan import Plan
from medseg.errors import MissingDependency, TrainingError
from medseg.training import probe
from medseg.training.probe import (
    choose_device,
    choose_precision,
    probe_machine,
    take_step,
)


def test_a_machine_is_measured() -> None:
    machine = probe_machine("cpu")
    assert machine.device == "cpu"
    assert machine.name
    assert machine.cores >= 1
    assert machine.memory_bytes > 1 << 20
    assert 0.1 < machine.gflops < 1e5
    assert machine.gflops == float(f"{machine.gflops:.2g}")


def test_a_gpu_that_is_not_there_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(MissingDependency, match="CUDA"):
        choose_device("cuda")


@pytest.mark.parametrize(("seconds", "chosen"), [((1.0, 0.5), "bf16"), ((1.0, 0.95), "fp32")])
def test_bf16_must_pay_on_a_cpu(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], chosen: str
) -> None:
    taken = dict(zip((None, torch.bfloat16), seconds, strict=True))
    monkeypatch.setattr(probe, "_step_seconds", lambda _plan, dtype: taken[dtype])
    precision, why = choose_precision(plan, "cpu")
    assert precision == chosen
    assert "times as fast" in why


def test_a_processor_that_others_block_counts_as_shared_by_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wall, busy = iter(range(0, 1000, 4)), iter(range(1000))
    monkeypatch.setattr(probe.time, "perf_counter", lambda: next(wall))
    monkeypatch.setattr(probe.time, "thread_time", lambda: next(busy))
    assert probe._once(lambda: None, "cpu") == 2.0
    assert probe._once(lambda: None, "cuda" if torch.cuda.is_available() else "cpu") <= 4.0


def test_short_things_are_timed_more_often_than_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for each, least, most in ((0.01, 10, 11), (0.3, 4, 4), (6.0, 1, 1)):
        taken: list[float] = []
        monkeypatch.setattr(probe.time, "perf_counter", lambda taken=taken: sum(taken))
        monkeypatch.setattr(
            probe,
            "_once",
            lambda step, device, taken=taken, each=each: (taken.append(each), each)[1],
        )
        assert probe._time(lambda: None, "cpu") == each
        assert least <= len(taken) <= most


def test_a_larger_batch_takes_longer_in_proportion(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_time", lambda step, device: 1.5)
    probe._network_seconds.cache_clear()
    probe._optimizer_seconds.cache_clear()
    large = plan.model_copy(update={"recipe": plan.recipe.model_copy(update={"batch_size": 8})})
    assert take_step(plan, "cpu", "fp32") == (1.5 * plan.recipe.batch_size / 2, 1.5)
    assert take_step(large, "cpu", "fp32") == (6.0, 1.5)
    probe._network_seconds.cache_clear()
    probe._optimizer_seconds.cache_clear()


def test_a_step_is_timed_once_in_a_process(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    probe._network_seconds.cache_clear()
    first = take_step(plan, "cpu", "fp32")
    monkeypatch.setattr(probe, "_time", lambda step, device: 1e9)
    assert take_step(plan, "cpu", "fp32") == first
    probe._network_seconds.cache_clear()


def test_a_step_that_is_too_large_has_no_time(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_step: object, _device: object) -> float:
        raise RuntimeError("can't allocate memory: you tried to allocate 99 bytes")

    probe._network_seconds.cache_clear()
    monkeypatch.setattr(probe, "_time", full)
    assert take_step(plan, "cpu", "fp32") is None


def test_both_arithmetics_are_really_timed(plan: Plan) -> None:
    precision, _ = choose_precision(plan, "cpu")
    assert precision in ("fp32", "bf16")


def test_bf16_is_not_taken_where_its_gradients_are_wrong(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {None: 1.0, torch.bfloat16: 0.5}
    monkeypatch.setattr(probe, "_step_seconds", lambda _plan, dtype: taken[dtype])
    thin = plan.model_copy(update={"patch_size": (2, 8, 8)})
    assert choose_precision(plan, "cpu")[0] == "bf16"
    precision, why = choose_precision(thin, "cpu")
    assert precision == "fp32"
    assert "wrong gradients" in why
    assert choose_precision(thin, "cpu", "fp32")[0] == "fp32"
    with pytest.raises(TrainingError, match=r"thinner than a kernel.*Use --precision fp32 or auto"):
        choose_precision(thin, "cpu", "bf16")


def test_what_is_asked_for_is_taken(plan: Plan) -> None:
    assert choose_precision(plan, "cpu", "bf16")[0] == "bf16"
    with pytest.raises(TrainingError, match="needs a GPU"):
        choose_precision(plan, "cpu", "fp16")
