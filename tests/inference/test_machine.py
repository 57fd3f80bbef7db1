"""What is known of the processor."""

import platform
import sys

import pytest
import torch

from medseg.inference import machine
from medseg.inference.machine import instructions, processor_name

CPUINFO = """processor\t: 0
model name\t: Some CPU @ 3 GHz
flags\t\t: fpu sse4_2 avx512_vnni amx_int8 nopl avx2

processor\t: 1
model name\t: Another
"""


def described(monkeypatch, tmp_path, text):
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    machine._described.cache_clear()
    found = processor_name(), instructions()
    machine._described.cache_clear()
    return found


def test_the_first_processor_counts_and_only_what_matters(monkeypatch, tmp_path):
    name, found = described(monkeypatch, tmp_path, CPUINFO)
    assert name == "Some CPU @ 3 GHz"
    assert found == (platform.machine(), "amx_int8", "avx2", "avx512_vnni", "sse4_2")


def test_arm_calls_them_features(monkeypatch, tmp_path):
    _, found = described(monkeypatch, tmp_path, "Features\t: fp asimd bf16 i8mm\n")
    assert found[1:] == ("asimd", "bf16", "i8mm")


def test_elsewhere_the_architecture_is_known(monkeypatch, tmp_path):
    name, found = described(monkeypatch, tmp_path, None)
    assert found == (platform.machine(),)
    assert name in (platform.processor(), platform.machine())


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(machine, "_most_threads", None)


def test_threads_are_those_of_torch_where_it_is_loaded():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert machine.threads() == 3
    finally:
        torch.set_num_threads(before)


def test_threads_without_torch_are_cores_or_what_is_allowed(without_torch, monkeypatch):
    monkeypatch.setattr("psutil.cpu_count", lambda logical: None if logical else 8)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert machine.threads() == 8
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert machine.threads() == 2
    machine.limit_threads(1)
    assert machine.threads() == 1


def test_threads_where_nothing_is_known(without_torch, monkeypatch):
    monkeypatch.setattr("psutil.cpu_count", lambda logical: None)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(), raising=False)
    assert machine.threads() == 1


def test_torch_is_asked_for_a_card_only_where_one_may_be(monkeypatch, tmp_path):
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr(machine, "_CARDS", (str(tmp_path / "card"),))
    assert not machine.may_have_card()
    (tmp_path / "card").touch()
    assert machine.may_have_card()
    monkeypatch.setattr("platform.system", lambda: "Windows")
    monkeypatch.setattr(machine, "_CARDS", ())
    assert machine.may_have_card()
