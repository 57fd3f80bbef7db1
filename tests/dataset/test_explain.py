"""Decisions in words."""

import pytest
from planning import CPU_QUARTER, GPU_DAY, make_fingerprint

from medseg.dataset.plan import make_plan
from medseg.specs import Budget


def words(budget, what, **facts):
    plan = make_plan(make_fingerprint(**facts), budget)
    return next(reason for reason in plan.reasons if reason.what == what)


LARGE = {"spacings_mm": ((0.8, 0.8, 2.5),) * 50, "grid_sizes": ((512, 512, 96),) * 50}


def test_why_this_patch():
    assert "whole median case" in words(GPU_DAY, "patch").why
    assert words(GPU_DAY, "patch", **LARGE).why.endswith("trains in 8 GiB.")
    assert words(CPU_QUARTER, "patch", **LARGE).why.startswith("Memory would allow 160 x 160 x 32")
    card = Budget(seconds=30 * 86_400, memory_bytes=72 << 30, device="cuda", gflops=20_000)
    assert "more than nnU-Net's 224 x 224 x 40" in words(card, "patch", **LARGE).why


def test_why_this_width():
    assert words(GPU_DAY, "network").why == "nnU-Net's width: memory and time allow it."
    assert "in 15 min" in words(CPU_QUARTER, "network").why
    little = Budget(epochs=1, memory_bytes=6 << 20, gflops=100)
    assert words(little, "network").why == "The widest that the memory holds."


@pytest.mark.parametrize(
    ("arch", "described"),
    [
        ("unet", "unet, 4 stages, 32-64-128-256 features"),
        ("transunet", "transunet, 12 layers of 384 channels"),
        ("unetr", "unetr, 12 layers of"),
        ("swin_unetr", "swin_unetr, 24 features, windows of 7 tokens"),
        ("medt", "medt, 4 features, 4 heads"),
        ("mednext", "mednext, 4 stages,"),
    ],
)
def test_other_kinds_in_words(arch, described):
    plan = make_plan(make_fingerprint(), CPU_QUARTER, arch=arch)
    reason = next(reason for reason in plan.reasons if reason.what == "network")
    assert reason.value.startswith(described)
    assert reason.value.endswith(" weights")
    assert reason.why.startswith("Narrower than the paper's: in 15 min")


def test_the_papers_width():
    plan = make_plan(make_fingerprint(), GPU_DAY, arch="resenc_unet")
    reason = next(reason for reason in plan.reasons if reason.what == "network")
    assert reason.why == "The paper's width: memory and time allow it."


def test_why_this_batch():
    assert "5 % of the data set (6)" in words(GPU_DAY, "batch").why
    assert words(CPU_QUARTER, "batch").why.startswith("6 would fit")


@pytest.mark.parametrize(
    ("share", "value", "why"),
    [(1.0, "kept", "reach"), (0.9, "cut off", "10.0%"), (0.5, "cut off", "leave zeros out")],
)
def test_why_borders_are_cut_off(share, value, why):
    reason = words(GPU_DAY, "empty borders", nonzero_share=share)
    assert reason.value == value
    assert why in reason.why


@pytest.mark.parametrize(
    ("seconds", "written"), [(45, "45 s"), (900, "15 min"), (5400, "1.5 h"), (86_400, "1 d")]
)
def test_time_in_words(seconds, written):
    budget = CPU_QUARTER.model_copy(update={"seconds": seconds})
    assert f"in {written} at 400 GFLOP/s" in words(budget, "steps").why


def test_few_views_keep_a_digit():
    budget = Budget(seconds=5, memory_bytes=8 << 30, gflops=100)
    assert "seen 2.3 times in 5 s" in words(budget, "steps").why


def test_epochs_are_counted_exactly():
    budget = Budget(epochs=10, memory_bytes=8 << 30, gflops=100)
    reason = words(budget, "steps")
    assert (reason.value, reason.why) == ("300", "Each case is seen 10 times.")


def test_no_mirrors_are_said():
    names = ("left kidney", "right kidney")
    assert words(CPU_QUARTER, "augmentation", names=names).value == "no mirrors"
