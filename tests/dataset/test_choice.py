"""Network, patch and batch from memory and time."""

from math import prod

import pytest
from planning import CPU_QUARTER, GPU_DAY

from medseg.dataset.choice import Need, choose_network
from medseg.dataset.cost import training_memory_bytes
from medseg.errors import PlanError

HIPPOCAMPUS = Need((1, 1, 1), (35, 50, 36), in_channels=1, classes=3, cases=200)


@pytest.mark.parametrize(
    ("spacing_mm", "grid", "channels", "classes", "patch_size"),
    [
        ((1, 1, 1), (138, 169, 138), 4, 4, (128, 128, 128)),  # brain tumours
        ((1.25, 1.25, 1.37), (232, 320, 115), 1, 2, (160, 192, 80)),  # heart
        ((0.77, 0.77, 1), (512, 512, 432), 1, 3, (128, 128, 128)),  # liver
        ((0.80, 0.80, 2.5), (512, 512, 96), 1, 3, (224, 224, 40)),  # pancreas
        ((0.79, 0.79, 1.24), (512, 512, 252), 1, 2, (160, 192, 80)),  # lung
        ((0.79, 0.79, 1.6), (512, 512, 187), 1, 2, (160, 192, 64)),  # spleen
        ((0.80, 0.80, 1.5), (512, 512, 150), 1, 3, (192, 192, 64)),  # liver vessels
    ],
)
def test_nnunets_published_patches(spacing_mm, grid, channels, classes, patch_size):
    choice = choose_network(Need(spacing_mm, grid, channels, classes, cases=100), GPU_DAY)
    assert choice.patch_size == patch_size
    assert choice.batch_size == 2
    assert choice.network.features == (32, 64, 128, 256, 320, 320)


def test_nnunets_plan_for_the_hippocampus():
    choice = choose_network(HIPPOCAMPUS, GPU_DAY)
    assert choice.patch_size == (40, 56, 40)
    assert choice.network.features == (32, 64, 128, 256)
    assert choice.batch_size == 7


def test_nnunets_2d_plan_for_brain_tumours():
    choice = choose_network(Need((1, 1), (138, 170, 138), 4, 4, cases=400), GPU_DAY)
    assert choice.patch_size == (160, 192, 1)
    assert choice.memory_batch == pytest.approx(105, abs=3)


def test_less_time_means_a_smaller_network_and_fewer_voxels_a_step():
    full = choose_network(HIPPOCAMPUS, GPU_DAY)
    short = choose_network(HIPPOCAMPUS, CPU_QUARTER)
    assert short.network.features == (16, 32, 64, 128)
    assert short.patch_size == full.patch_size
    assert short.batch_size == 2


def test_voxels_never_grow_when_time_shrinks():
    need = Need((0.8, 0.8, 2.5), (512, 512, 96), 1, 3, cases=50)
    spent = [
        choose_network(need, CPU_QUARTER.model_copy(update={"seconds": seconds}))
        for seconds in (1e8, 1e6, 1e5, 1e4, 1e3, 1e2, 10)
    ]
    voxels = [prod(choice.patch_size) * choice.batch_size for choice in spent]
    widths = [choice.network.features[0] for choice in spent]
    assert voxels == sorted(voxels, reverse=True)
    assert widths == sorted(widths, reverse=True)
    assert voxels[0] > 8 * voxels[-1]
    assert widths[-1] == 8


def test_more_memory_makes_larger_batches_before_larger_patches():
    need = Need((0.8, 0.8, 2.5), (512, 512, 96), 1, 3, cases=50)
    card = GPU_DAY.model_copy(update={"memory_bytes": 72 << 30})
    hours = choose_network(need, card.model_copy(update={"seconds": 7200}))
    assert hours.patch_size == choose_network(need, GPU_DAY).patch_size == (224, 224, 40)
    assert hours.batch_size > 2
    month = choose_network(need, card.model_copy(update={"seconds": 30 * 86_400}))
    assert prod(month.patch_size) > 4 * prod(hours.patch_size)
    epochs = choose_network(need, card.model_copy(update={"seconds": None, "epochs": 1000}))
    assert epochs.patch_size == hours.patch_size


def test_epochs_leave_nnunets_size():
    budget = CPU_QUARTER.model_copy(update={"seconds": None, "epochs": 3})
    choice = choose_network(HIPPOCAMPUS, budget)
    assert (choice.patch_size, choice.batch_size) == ((40, 56, 40), 7)
    assert choice.network.features[0] == 32


@pytest.mark.parametrize("mebibytes", [64, 256, 1024, 4096])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_step_fits_the_memory(mebibytes, device):
    budget = GPU_DAY.model_copy(update={"memory_bytes": mebibytes << 20, "device": device})
    choice = choose_network(Need((1, 1, 1), (128, 160, 112), 2, 4, cases=20), budget)
    used = training_memory_bytes(
        choice.network, choice.patch_size, choice.batch_size, device=device
    )
    assert used <= 1.25 * budget.memory_bytes


def test_too_little_memory_is_said():
    with pytest.raises(PlanError, match=r"fit the memory.*1 MiB.*--memory"):
        choose_network(HIPPOCAMPUS, CPU_QUARTER.model_copy(update={"memory_bytes": 1 << 20}))
