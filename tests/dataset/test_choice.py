"""Network, patch and batch from memory and time."""

from math import prod

import pytest
from planning import CPU_QUARTER, GPU_DAY

from medseg.dataset.choice import Need, choose_network, patch_in_memory
from medseg.dataset.cost import training_gflop, training_memory_bytes
from medseg.dataset.scaling import SCALED
from medseg.errors import PlanError
from medseg.specs import PAPERS, Budget
from medseg.specs.settings import fitting_grid

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


KINDS = [name for name in SCALED if name != "plain_unet"]


@pytest.mark.parametrize("arch", KINDS)
@pytest.mark.parametrize(
    ("spacing_mm", "grid"),
    [((1, 1, 1), (35, 50, 36)), ((0.8, 0.8, 2.5), (320, 320, 40)), ((1, 1), (300, 200, 1))],
)
@pytest.mark.parametrize("seconds", [300, 86_400])
def test_every_kind_is_scaled_to_data_time_and_memory(arch, spacing_mm, grid, seconds):
    need = Need(spacing_mm, grid, in_channels=2, classes=4, cases=100)
    budget = CPU_QUARTER.model_copy(update={"seconds": seconds})
    choice = choose_network(need, budget, arch)
    network, patch = choice.network, choice.patch_size[: len(spacing_mm)]
    assert (network.kind, network.dims) == (arch, len(spacing_mm))
    assert (network.in_channels, network.classes) == (2, 4)
    assert patch == fitting_grid(patch, network.divisor)
    assert network.fixed_grid in (None, patch)
    assert network.keeps_grid
    used = training_memory_bytes(network, choice.patch_size, choice.batch_size, device="cpu")
    assert used <= 1.25 * budget.memory_bytes


@pytest.mark.parametrize("arch", KINDS)
def test_less_time_never_means_more_work_a_step(arch):
    budgets = [CPU_QUARTER.model_copy(update={"seconds": s}) for s in (1e7, 1e5, 1e3, 10)]
    chosen = [choose_network(HIPPOCAMPUS, budget, arch) for budget in budgets]
    work = [training_gflop(c.network, c.patch_size, c.batch_size) for c in chosen]
    assert work == sorted(work, reverse=True)
    assert work[0] > 4 * work[-1]
    assert [c.width for c in chosen] == sorted((c.width for c in chosen), reverse=True)


@pytest.mark.parametrize("arch", ["unet", "unet3d", "attention_unet"])
def test_the_papers_stages_and_widths_are_kept_where_there_is_room(arch):
    paper = PAPERS[arch].spec()
    card = GPU_DAY.model_copy(update={"seconds": 30 * 86_400, "memory_bytes": 80 << 30})
    choice = choose_network(Need((1, 1, 1), (160, 160, 160), 1, 2, cases=100), card, arch)
    assert choice.network.features == paper.features
    halved = len(paper.features) - 1
    assert choice.network.strides == ((1, 1, 1), *((2, 2, 2),) * halved)


def test_the_residual_encoder_has_the_shape_of_the_plain_one():
    need = Need((0.8, 0.8, 2.5), (512, 512, 96), 1, 3, cases=50)
    plain, residual = (
        choose_network(need, GPU_DAY, a).network for a in ("plain_unet", "resenc_unet")
    )
    assert residual.strides == plain.strides
    assert residual.features == plain.features
    assert residual.encoder_blocks == (1, 3, 4, 6, 6, 6)
    assert residual.decoder_convs == (1,) * 5


def test_an_unknown_kind_is_refused():
    with pytest.raises(PlanError, match=r"Networks are plain_unet, unet, .*'v_net'.*--arch"):
        choose_network(HIPPOCAMPUS, CPU_QUARTER, "v_net")


def test_too_little_memory_is_said():
    with pytest.raises(PlanError, match=r"fit the memory.*1 MiB.*--memory"):
        choose_network(HIPPOCAMPUS, CPU_QUARTER.model_copy(update={"memory_bytes": 1 << 20}))


@pytest.mark.parametrize(("preset", "gibibytes"), [("m", 8), ("l", 24), ("xl", 40)])
def test_a_preset_plans_for_its_card_whatever_else_there_is(preset, gibibytes):
    need = Need((0.8, 0.8, 2.5), (512, 512, 200), 1, 3, cases=50)
    large = Budget(epochs=1000, memory_bytes=80 << 30, device="cuda", gflops=1e5, preset=preset)
    exact = large.model_copy(update={"memory_bytes": gibibytes << 30})
    choice = choose_network(need, large, "resenc_unet")
    assert choice == choose_network(need, exact, "resenc_unet")
    size = (choice.network, choice.patch_size, choice.batch_size)
    used = training_memory_bytes(*size, device="cuda") / 2**30
    assert 0.75 * gibibytes < used <= gibibytes
    assert choice.memory_bytes == choice.patch_memory_bytes == gibibytes << 30
    assert patch_in_memory(need, large, "resenc_unet") == choice.full_patch


def test_larger_presets_see_more_of_a_case():
    need = Need((0.8, 0.8, 2.5), (512, 512, 200), 1, 3, cases=50)
    budget = Budget(epochs=1000, memory_bytes=80 << 30, device="cuda", gflops=1e5)
    default, *sizes = (
        prod(patch_in_memory(need, budget.model_copy(update={"preset": preset}), "resenc_unet"))
        for preset in (None, "m", "l", "xl")
    )
    assert default == sizes[0] < sizes[1] < sizes[2]


def test_a_preset_is_held_to_the_memory_that_is_there():
    need = Need((1, 1, 1), (512, 512, 200), 1, 3, cases=50)
    budget = Budget(epochs=9, memory_bytes=6 << 30, device="cuda", gflops=1e5, preset="xl")
    choice = choose_network(need, budget, "resenc_unet")
    size = (choice.network, choice.patch_size, choice.batch_size)
    assert training_memory_bytes(*size, device="cuda") <= 6 << 30


def test_a_preset_lets_a_batch_hold_the_whole_data_set():
    need = Need((1, 1, 1), (35, 50, 36), 1, 3, cases=9)
    budget = Budget(epochs=9, memory_bytes=8 << 30, device="cuda", gflops=1e5)
    assert choose_network(need, budget).batch_size == 2
    assert choose_network(need, budget.model_copy(update={"preset": "m"})).batch_size > 2
