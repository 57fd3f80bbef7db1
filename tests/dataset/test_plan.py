"""The whole plan, its words and its file."""

import pytest
from planning import CPU_QUARTER, GPU_DAY, make_fingerprint
from pydantic import ValidationError

from medseg.dataset.cost import parameter_count
from medseg.dataset.plan import Plan, load_plan, make_plan, save_plan
from medseg.errors import LabelError, MissingPath, PlanError
from medseg.specs import PAPERS, Budget
from medseg.volume.regions import PaintedRegion


@pytest.fixture
def plan() -> Plan:
    return make_plan(make_fingerprint(), CPU_QUARTER)


def test_with_a_day_on_a_gpu_the_plan_is_nnunets():
    plan = make_plan(make_fingerprint(), GPU_DAY)
    assert (plan.config, plan.orientation, plan.spacing_mm) == ("3d_full", "RAS", (1, 1, 1))
    assert plan.patch_size == plan.window.patch_size == (40, 56, 40)
    assert plan.network.features == (32, 64, 128, 256)
    assert parameter_count(plan.network) == 5_603_177
    assert plan.recipe.optimizer == "sgd"
    assert plan.recipe.batch_size == 6
    assert not plan.crop_to_nonzero
    assert not plan.loss.batch_dice


def test_with_a_quarter_of_an_hour_on_a_cpu_it_is_smaller(plan):
    full = make_plan(make_fingerprint(), GPU_DAY)
    assert parameter_count(plan.network) < parameter_count(full.network) / 3
    assert plan.recipe.batch_size < full.recipe.batch_size
    assert plan.recipe.schedule == "cosine"
    assert "15 min" in next(r.why for r in plan.reasons if r.what == "network")


def test_every_decision_has_a_reason(plan):
    decided = [reason.what for reason in plan.reasons]
    assert decided == [
        "configuration", "axes", "spacing", "median case", "empty borders", "intensities of c0",
        "patch", "network", "batch", "memory", "seconds per step", "steps",
        "optimiser", "augmentation", "loss",
    ]  # fmt: skip
    assert all(reason.value and reason.why.endswith(".") for reason in plan.reasons)


def test_the_same_numbers_give_the_same_plan(plan):
    assert make_plan(make_fingerprint(), CPU_QUARTER) == plan


def test_2d_on_request_and_for_slices():
    volumes = make_plan(make_fingerprint(), GPU_DAY, config="2d")
    slices = make_plan(make_fingerprint(grid_sizes=((256, 256, 1),) * 180), GPU_DAY)
    for plan in (volumes, slices):
        assert plan.config == "2d"
        assert plan.network.dims == 2
        assert plan.patch_size[2] == 1
        assert plan.loss.batch_dice


def test_mostly_empty_images_are_cut_and_standardised_inside():
    plan = make_plan(make_fingerprint(modalities=("MR", "CT"), nonzero_share=0.5), GPU_DAY)
    assert plan.crop_to_nonzero
    assert [how.kind for how in plan.normalisations] == ["z_score", "clip_and_scale"]
    assert plan.normalisations[0].inside_nonzero


@pytest.mark.parametrize("grid", [(5, 6, 4), (8, 8, 8), (3, 200, 200), (600, 600, 600)])
@pytest.mark.parametrize("budget", [GPU_DAY, CPU_QUARTER, Budget(memory_bytes=2**30, gflops=1)])
def test_any_size_gets_a_plan(grid, budget):
    plan = make_plan(make_fingerprint(grid_sizes=(grid,) * 180), budget)
    assert len(plan.network.strides) >= 2


def test_a_plan_survives_its_file(plan, tmp_path):
    save_plan(plan, tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == plan


def test_no_plan_there(tmp_path):
    with pytest.raises(MissingPath, match=r"no file there.*medseg plan"):
        load_plan(tmp_path / "plan.json")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b'{"version": 1}', b'{"surprise": 1}']
)
def test_a_file_that_is_no_plan(tmp_path, content):
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(PlanError, match="must hold a plan"):
        load_plan(tmp_path / "plan.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalisations": ()}, "one normalisation"),
        ({"patch_size": (41, 56, 40)}, "multiple of 8"),
        ({"config": "2d"}, "2d plan has a 2D network"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "positive"),
        ({"orientation": "XYZ"}, "pattern"),
        ({"labels": ()}, "at least 1 item"),
        ({"labels": ({"value": 1, "name": "one"},)}, "one class for each label"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(plan, change, message):
    with pytest.raises(ValidationError, match=message):
        Plan.model_validate(plan.model_dump() | change)


def test_network_and_channels_have_the_same_number(plan):
    network = plan.network.model_copy(update={"in_channels": 2})
    with pytest.raises(ValidationError, match="as many channels"):
        Plan.model_validate(plan.model_dump() | {"network": network})


def test_every_kind_of_network_gets_a_plan_that_survives_its_file(tmp_path):
    for arch in PAPERS:
        plan = make_plan(make_fingerprint(), CPU_QUARTER, arch=arch)
        assert plan.network.kind == arch
        save_plan(plan, tmp_path / f"{arch}.json")
        assert load_plan(tmp_path / f"{arch}.json") == plan


def test_the_kind_changes_nothing_but_network_and_what_follows_from_it(plan):
    other = make_plan(make_fingerprint(), CPU_QUARTER, arch="swin_unetr")
    assert other.preprocessing_hash == plan.preprocessing_hash
    assert other.patch_size == other.window.patch_size
    assert all(n % 32 == 0 for n in other.patch_size)


def test_a_network_of_one_grid_has_patches_of_it():
    plan = make_plan(make_fingerprint(), CPU_QUARTER, arch="unetr")
    larger = tuple(2 * n for n in plan.patch_size)
    with pytest.raises(ValidationError, match=r"patches of exactly \(48, 64, 48\)"):
        Plan.model_validate(plan.model_dump() | {"patch_size": larger})


def test_valid_convolutions_are_no_plans():
    plan = make_plan(make_fingerprint(), CPU_QUARTER, arch="unet")
    network = plan.network.model_copy(update={"padding": "valid"})
    with pytest.raises(ValidationError, match="logits on the grid of its patch"):
        Plan.model_validate(plan.model_dump() | {"network": network})


def test_plans_that_preprocess_alike_share_a_store(plan):
    longer = make_plan(make_fingerprint(), GPU_DAY)
    assert longer.preprocessing_hash == plan.preprocessing_hash
    other = plan.model_copy(update={"spacing_mm": (1.0, 1.0, 2.0)})
    assert other.preprocessing_hash != plan.preprocessing_hash


REGIONS = (
    PaintedRegion(name="whole", values=(1, 2), painted=1),
    PaintedRegion(name="posterior", values=(2,), painted=2),
)


def test_regions_have_a_channel_each_and_a_loss_of_their_own():
    plan = make_plan(make_fingerprint(regions=REGIONS), CPU_QUARTER)
    assert plan.network.classes == 2
    assert plan.loss.kind == "dice_bce"
    assert plan.region_classes == ((1, 2), (2,))
    assert plan.judged == {"whole": (1, 2), "posterior": (2,)}
    words = {reason.what: reason for reason in plan.reasons}
    assert "painted in order: whole, posterior" in words["regions"].why
    assert words["loss"].value == "Dice and binary cross-entropy"


def test_one_region_of_several_values_is_enough():
    plan = make_plan(make_fingerprint(regions=REGIONS[:1]), CPU_QUARTER)
    assert plan.network.classes == 1


def test_labels_are_judged_where_there_are_no_regions(plan):
    assert plan.judged == {"anterior": (1,), "posterior": (2,)}
    assert plan.ignored_class is None


def test_ignored_voxels_are_no_class_of_the_network(plan):
    scribbles = make_plan(make_fingerprint(ignored_value=9), CPU_QUARTER)
    assert scribbles.network == plan.network
    assert (scribbles.ignored_value, scribbles.ignored_class) == (9, 3)
    assert scribbles.preprocessing_hash != plan.preprocessing_hash
    assert "voxels of value 9" in [reason.value for reason in scribbles.reasons]


def test_regions_called_left_and_right_are_not_mirrored():
    sides = (
        PaintedRegion(name="left lung", values=(1,), painted=1),
        PaintedRegion(name="right lung", values=(2,), painted=2),
    )
    assert 0 in make_plan(make_fingerprint(), GPU_DAY).augment.mirror.axes
    assert 0 not in make_plan(make_fingerprint(regions=sides), GPU_DAY).augment.mirror.axes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"regions": REGIONS[:1]}, "one channel for each region"),
        ({"regions": ()}, "one class for each label"),
        ({"loss": {"kind": "dice_ce"}}, "regions have the loss dice_bce"),
    ],
)
def test_parts_of_a_plan_of_regions_that_do_not_fit_are_refused(change, message):
    plan = make_plan(make_fingerprint(regions=REGIONS), CPU_QUARTER)
    with pytest.raises(ValidationError, match=message):
        Plan.model_validate(plan.model_dump() | change)


def test_an_order_of_painting_that_hides_a_region_is_refused():
    with pytest.raises(LabelError, match="inner ones over the outer ones"):
        make_plan(make_fingerprint(regions=REGIONS[::-1]), CPU_QUARTER)
