"""A bundle comes back as it was written, or says why not."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medseg.bundle import (
    Bundle,
    Configuration,
    Provenance,
    build_member,
    build_members,
    builtin_bundles,
    load_bundle,
    model_card,
    save_bundle,
)
from medseg.dataset.description import Channel
from medseg.dataset.plan import Plan, ZScore
from medseg.errors import BundleError, CorruptBundle, UnknownBundle
from medseg.networks.build import build
from medseg.specs import (
    AugmentSpec,
    Budget,
    LossSpec,
    MaskAugmentSpec,
    PlainUNetSpec,
    RecipeSpec,
    WindowSpec,
)
from medseg.specs.postprocess import FilledHolesSpec, MinimumVolumeSpec
from medseg.volume.labels import Label


def tiny_plan() -> Plan:
    return Plan(
        dataset="Blobs",
        config="3d_full",
        channels=(Channel(name="T1", modality="MR"),),
        labels=(Label(value=1, name="core"), Label(value=2, name="shell")),
        normalisations=(ZScore(inside_nonzero=False),),
        orientation="RAS",
        spacing_mm=(1.0, 1.0, 2.0),
        crop_to_nonzero=False,
        patch_size=(8, 8, 8),
        network=PlainUNetSpec(
            dims=3,
            in_channels=1,
            classes=3,
            features=(4, 8),
            kernels=((3, 3, 3),) * 2,
            strides=((1, 1, 1), (2, 2, 2)),
            encoder_convs=(1, 1),
            decoder_convs=(1,),
        ),
        loss=LossSpec(),
        augment=AugmentSpec(),
        recipe=RecipeSpec(),
        window=WindowSpec(patch_size=(8, 8, 8)),
        budget=Budget(epochs=1, memory_bytes=1 << 30, gflops=100.0),
        median_grid=(16, 16, 16),
    )


@pytest.fixture
def bundle() -> Bundle:
    plan = tiny_plan()
    members = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        members.append(dict(build(plan.network).state_dict()))
    provenance = Provenance(
        medseg_version="0.1.0",
        created="2026-11-23T09:00:00+00:00",
        data_name="Blobs",
        data_hash="abc",
        data_licence="CC0-1.0",
        seed=3,
        training_cases=("a", "b"),
        validation_cases=("c",),
    )
    return Bundle(
        plan=plan,
        provenance=provenance,
        members=tuple(members),
        metrics={"dice": {"core": 0.9, "shell": None, "mean": 0.9}},
        volume_ranges_ml={"core": (1.0, 2.5), "shell": (0.0, 4.0)},
    )


def test_comes_back_equal(bundle: Bundle, tmp_path: Path) -> None:
    saved = save_bundle(bundle, tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle")
    assert loaded.plan == bundle.plan
    assert loaded.provenance == bundle.provenance
    assert loaded.metrics == bundle.metrics
    assert loaded.volume_ranges_ml == bundle.volume_ranges_ml
    assert loaded.weights_sha256 == saved.weights_sha256 != ""
    for before, after in zip(bundle.members, loaded.members, strict=True):
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_half_precision_halves_the_file_and_loads_as_float32(
    bundle: Bundle, tmp_path: Path
) -> None:
    save_bundle(bundle, tmp_path / "full")
    save_bundle(bundle, tmp_path / "half", weights_dtype="float16")
    full, half = (tmp_path / n / "weights.safetensors" for n in ("full", "half"))
    assert half.stat().st_size < 0.6 * full.stat().st_size
    for name, after in load_bundle(tmp_path / "half").members[0].items():
        assert after.dtype == torch.float32
        assert torch.allclose(bundle.members[0][name], after, atol=1e-3)


@pytest.mark.parametrize(
    ("cases", "words"),
    [(("c",), "Dice on 1 case that was held out."), (("c", "d"), "on 2 cases that were held out.")],
)
def test_the_card_counts_in_words(bundle: Bundle, cases: tuple[str, ...], words: str) -> None:
    origin = bundle.provenance.model_copy(update={"validation_cases": cases})
    card = model_card(replace(bundle, provenance=origin))
    assert words in card
    assert "patch 8 x 8 x 8, 2 members\n" in card
    assert ", 1 member\n" in model_card(replace(bundle, members=bundle.members[:1]))


def test_members_are_networks_ready_to_predict(bundle: Bundle, tmp_path: Path) -> None:
    loaded = load_bundle(save_bundle(bundle, tmp_path / "b").folder or "")
    networks = [build_member(loaded, n) for n in range(2)]
    image = torch.randn(1, 1, 8, 8, 8)
    with torch.inference_mode():
        first, second = (network(image) for network in networks)
    assert not networks[0].training
    assert first.shape == (1, 3, 8, 8, 8)
    assert not torch.equal(first, second)


def test_folder_of_a_run_stands_for_its_bundle(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(bundle, tmp_path / "bundle")
    assert load_bundle(tmp_path).folder == tmp_path / "bundle"


def test_bundles_in_the_box_are_found_by_name(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medseg.bundle_folder.BUILTIN_FOLDER", tmp_path)
    save_bundle(bundle, tmp_path / "blobs-mr")
    assert builtin_bundles() == ("blobs-mr",)
    assert load_bundle("blobs-mr").name == "blobs-mr"
    assert replace(bundle, folder=None).name == "Blobs"


def test_unknown_name_lists_the_known_ones(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medseg.bundle_folder.BUILTIN_FOLDER", tmp_path)
    save_bundle(bundle, tmp_path / "blobs-mr")
    with pytest.raises(UnknownBundle, match="Known names: blobs-mr"):
        load_bundle("spleen-ct")


def test_changed_weights_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(bundle, tmp_path / "b")
    weights = tmp_path / "b" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CorruptBundle, match="SHA-256"):
        load_bundle(tmp_path / "b")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', "\udcff"])
def test_broken_description_is_refused(bundle: Bundle, tmp_path: Path, content: str) -> None:
    save_bundle(bundle, tmp_path / "b")
    (tmp_path / "b" / "bundle.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(CorruptBundle, match="as it was written"):
        load_bundle(tmp_path / "b")


def test_missing_weights_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(bundle, tmp_path / "b")
    (tmp_path / "b" / "weights.safetensors").unlink()
    with pytest.raises(CorruptBundle, match="no weights"):
        load_bundle(tmp_path / "b")


def test_weights_that_do_not_fit_the_plan_are_refused(bundle: Bundle) -> None:
    (name, tensor), *_ = bundle.members[0].items()
    with pytest.raises(CorruptBundle, match="fit the network"):
        build_member(replace(bundle, members=({name: tensor},)))


def test_the_card_says_how_it_was_trained_or_that_this_is_not_known(bundle: Bundle) -> None:
    trained = replace(bundle, provenance=bundle.provenance.model_copy(update={"steps": 7}))
    card = model_card(trained)
    assert "It has seen 2 cases of Blobs and nothing else." in card
    assert "7 steps of" in card
    elsewhere = bundle.provenance.model_copy(update={"training_cases": (), "steps": 0})
    card = model_card(replace(bundle, provenance=elsewhere))
    assert "Which cases it has seen is not known: its weights were trained elsewhere." in card
    assert "Steps, time and device are not known" in card


def test_card_states_use_limits_licence_and_figures(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(bundle, tmp_path / "b")
    card = (tmp_path / "b" / "model_card.md").read_text()
    assert card == model_card(bundle)
    for words in ("Intended use", "Limits", "CC0-1.0", "| core | 0.9000 | 1 to 2.5 |", "| shell |"):
        assert words in card


def test_no_pickle_in_the_folder(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(bundle, tmp_path / "b")
    names = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert names == ["bundle.json", "model_card.md", "weights.safetensors"]
    assert json.loads((tmp_path / "b" / "bundle.json").read_text())["members"] == 2


@pytest.fixture
def both(bundle: Bundle) -> Bundle:
    """Two configurations with a temperature each, and steps that follow."""
    plan = bundle.plan.model_copy(update={"spacing_mm": (2.0, 2.0, 2.0), "dataset": "Coarse"})
    torch.manual_seed(7)
    coarse = Configuration(plan, (dict(build(plan.network).state_dict()),), 1.5)
    steps = (
        MinimumVolumeSpec(structure="core", volume_ml=0.2),
        FilledHolesSpec(structure="shell"),
    )
    return replace(bundle, temperature=1.25, postprocessing=steps, further=(coarse,))


def test_configurations_and_what_follows_come_back_equal(both: Bundle, tmp_path: Path) -> None:
    save_bundle(both, tmp_path / "b")
    loaded = load_bundle(tmp_path / "b")
    assert loaded.postprocessing == both.postprocessing
    assert [c.temperature for c in loaded.configurations] == [1.25, 1.5]
    assert [len(c.members) for c in loaded.configurations] == [2, 1]
    for before, after in zip(both.configurations, loaded.configurations, strict=True):
        assert after.plan == before.plan
        for a, b in zip(before.members, after.members, strict=True):
            assert a.keys() == b.keys()
            assert all(torch.equal(a[name], b[name]) for name in a)
    assert not build_members(loaded.further[0])[0].training
    description = json.loads((tmp_path / "b/bundle.json").read_text())
    assert description["format"] == 2
    card = (tmp_path / "b/model_card.md").read_text()
    assert "3 members" in card
    assert "- Of core, connected parts below 0.2 ml go.\n- Holes in shell are filled." in card
    assert "temperature of 1.25 and 1.5" in card


def test_a_bundle_without_them_is_written_as_it_always_was(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(bundle, tmp_path / "b")
    description = json.loads((tmp_path / "b/bundle.json").read_text())
    assert description["format"] == 1
    assert not {"temperature", "postprocessing", "further"} & set(description)
    assert "After the networks" not in (tmp_path / "b/model_card.md").read_text()


def test_configurations_find_the_same_structures(both: Bundle) -> None:
    plan = both.plan.model_copy(update={"labels": both.plan.labels[:1]})
    other = replace(both.further[0], plan=plan)
    with pytest.raises(BundleError, match="same channels and labels"):
        replace(both, further=(other,))


@pytest.fixture
def cascade(bundle: Bundle) -> Bundle:
    """Two networks that refine the mask of one network, averaged with a plain configuration."""
    coarse = bundle.plan.model_copy(update={"config": "3d_low", "spacing_mm": (2.0, 2.0, 2.0)})
    network = bundle.plan.network.model_copy(update={"in_channels": 3})
    facts = {"config": "cascade", "mask_augment": MaskAugmentSpec(), "network": network}
    plan = Plan.model_validate(bundle.plan.model_copy(update=facts))
    members = tuple(dict(build(network).state_dict()) for _ in range(2))
    before = Configuration(coarse, (bundle.members[1],))
    return replace(
        bundle, plan=plan, members=members, first_stage=before,
        further=(Configuration(bundle.plan, (bundle.members[0],)),),
    )  # fmt: skip


@pytest.mark.parametrize("order", ["first", "last"])
def test_a_cascade_comes_back_with_both_stages(cascade: Bundle, tmp_path: Path, order: str) -> None:
    given = cascade
    if order == "last":
        plain, refining = cascade.further[0], cascade.configurations[0]
        given = replace(
            cascade, plan=plain.plan, members=plain.members, first_stage=None, further=(refining,)
        )
    save_bundle(given, tmp_path / "b")
    loaded = load_bundle(tmp_path / "b")
    assert [stage.plan for stage in loaded.stages] == [stage.plan for stage in given.stages]
    for before, after in zip(given.stages, loaded.stages, strict=True):
        assert len(before.members) == len(after.members)
        for a, b in zip(before.members, after.members, strict=True):
            assert all(torch.equal(a[name], b[name]) for name in a)
    assert json.loads((tmp_path / "b/bundle.json").read_text())["format"] == 3
    card = (tmp_path / "b/model_card.md").read_text()
    assert "plain_unet, cascade after plain_unet, 3d_low (1 of its members)" in card
    assert "4 members" in card


def test_half_a_cascade_is_refused(cascade: Bundle, bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="cascade with nothing before it"):
        replace(cascade, first_stage=None)
    with pytest.raises(BundleError, match="3d_full with 3d_low before it"):
        replace(bundle, first_stage=cascade.first_stage)
    assert cascade.first_stage is not None
    other = cascade.first_stage.plan.model_copy(update={"labels": bundle.plan.labels[:1]})
    with pytest.raises(BundleError, match="same channels, labels and regions"):
        replace(cascade, first_stage=replace(cascade.first_stage, plan=other))
