"""One bundle is in use; going back finds the one before; doing it twice has the same end."""

import shutil
from dataclasses import replace

import pytest
from watching import small_bundle

from medseg.bundle import load_bundle, save_bundle
from medseg.continual.registry import Registry
from medseg.errors import LoopError, UnknownBundle
from medseg.service.models import Models


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three bundles of different weights."""
    root = tmp_path_factory.mktemp("models")
    first = small_bundle(root / "m0", members=1)
    found = [first]
    for n in (1, 2):
        member = {name: tensor + 0.01 * n for name, tensor in first.members[0].items()}
        found.append(save_bundle(replace(first, members=(member,)), root / f"m{n}"))
    return found


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "bundles")


def test_the_promoted_bundle_is_in_use_under_the_folder(registry, models):
    name = registry.promote(models[0], why=("the first",))
    assert name == f"Small-{models[0].weights_sha256[:12]}"
    assert registry.current().weights_sha256 == models[0].weights_sha256
    assert load_bundle(registry.folder).weights_sha256 == models[0].weights_sha256
    registry.promote(models[1])
    assert load_bundle(registry.folder).weights_sha256 == models[1].weights_sha256
    assert [one.action for one in registry.history()] == ["promoted", "promoted"]


def test_going_back_again_and_again_goes_further_back(registry, models):
    names = [registry.promote(one) for one in models]
    assert registry.roll_back() == names[1]
    assert registry.roll_back() == names[0]
    with pytest.raises(LoopError, match="in use before"):
        registry.roll_back()
    assert registry.roll_back(to=names[2]) == names[2]
    assert registry.current().weights_sha256 == models[2].weights_sha256


def test_a_refused_candidate_is_written_down_and_nothing_else(registry, models):
    registry.promote(models[0])
    before = registry.current_name()
    for _ in range(2):  # as after a kill
        registry.keep(models[1], why=("worse",), run="loop")
    assert registry.current_name() == before
    (_, kept) = registry.history()
    assert (kept.action, kept.candidate) == ("kept", models[1].identity)


def test_a_promotion_that_was_interrupted_is_entered_once(registry, models):
    registry.promote(models[0])
    registry.promote(models[1], run="loop")
    (registry.folder / "current").write_text(registry.history()[0].bundle)
    registry.promote(models[1], run="loop")
    assert len(registry.history()) == 2
    assert registry.current().weights_sha256 == models[1].weights_sha256


def test_what_lies_beside_the_weights_comes_along_when_it_changed(registry, models, tmp_path):
    shutil.copytree(models[0].folder, tmp_path / "copy")
    name = registry.promote(load_bundle(tmp_path / "copy"))
    (tmp_path / "copy" / "note.txt").write_text("since then")
    assert registry.promote(load_bundle(tmp_path / "copy")) == name
    assert (registry.folder / name / "note.txt").read_text() == "since then"
    registry.promote(registry.current())
    assert (registry.folder / name / "note.txt").is_file()


def test_none_in_use_and_an_unknown_one_are_told(registry, models):
    with pytest.raises(LoopError, match="medseg loop promote"):
        registry.current()
    registry.promote(models[0])
    with pytest.raises(UnknownBundle, match="Known: Small-"):
        registry.roll_back(to="other")


def test_a_history_that_is_none_is_refused(registry, models):
    registry.promote(models[0])
    (registry.folder / "history.json").write_text("{}x")
    with pytest.raises(LoopError, match="must be the history"):
        registry.history()


def test_a_bundle_that_was_never_saved_cannot_be_used(registry, models):
    with pytest.raises(LoopError, match="saved before"):
        registry.promote(replace(models[0], folder=None))


def test_the_bundle_of_a_running_job_stays_where_it_is(registry, models, tmp_path):
    shutil.copytree(models[0].folder, tmp_path / "copy")
    place = registry.folder / registry.promote(load_bundle(tmp_path / "copy"))
    registry.promote(models[1])
    assert load_bundle(place).weights_sha256 == models[0].weights_sha256


def test_a_service_takes_up_what_is_promoted_without_a_restart(registry, models):
    registry.promote(models[0])
    served = Models([str(registry.folder)])
    before = served.get()
    registry.promote(models[1])
    after = served.get()
    assert after.digest != before.digest
    assert load_bundle(after.folder).weights_sha256 == models[1].weights_sha256
    assert load_bundle(before.folder).weights_sha256 == models[0].weights_sha256
