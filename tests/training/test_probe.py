import pytest
import torch

from medseg.dataset.plan import Plan
from medseg.errors import MissingDependency, TrainingError
from medseg.training import probe
from medseg.training.probe import choose_device, choose_precision, probe_machine


def test_a_machine_is_measured() -> None:
    machine = probe_machine("cpu")
    assert machine.device == "cpu"
    assert machine.name
    assert machine.cores >= 1
    assert machine.memory_bytes > 1 << 20
    assert 0.1 < machine.gflops < 1e5


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
