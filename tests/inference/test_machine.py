"""What is known of the processor."""

import platform

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
