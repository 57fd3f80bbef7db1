"""A difference names cases, volumes and shifts; nothing differs from itself."""

import numpy as np

from medseg.continual.version_diff import diff
from medseg.dataset.description import Channel
from medseg.dataset.manifest import CaseRecord, Intensities, Manifest
from medseg.volume.labels import Label

LABELS = (Label(value=1, name="core"),)


def record(n, *, label="l", image="i", ml=1.0, mean=100.0, spacing=1.0, **more):
    return CaseRecord(
        id=f"c{n:02d}", image=f"{image}{n}", label=None if label is None else f"{label}{n}",
        voxels=f"{label}{n}", grid_size=(4, 4, 4), spacing_mm=(1.0, 1.0, spacing),
        intensities=(Intensities(mean=mean, std=1, percentile_01=0, median=mean, percentile_99=9),),
        volumes_ml={"core": ml}, **more,
    )  # fmt: skip


def manifest(*cases, **more):
    head = {"dataset": "D", "channels": (Channel(name="T1"),), "labels": LABELS} | more
    return Manifest(**head, cases=cases)


def between(before, after):
    return diff(before, after, names=("v1", "v2"))


def test_nothing_differs_from_itself():
    one = manifest(record(1), record(2))
    found = between(one, one)
    assert found.is_empty
    assert found.shifts == ()


def test_it_is_the_mirror_image_the_other_way_round():
    one, other = manifest(record(1), record(2)), manifest(record(2), record(3))
    there, back = between(one, other), between(other, one)
    assert (there.added, there.removed) == (("c03",), ("c01",))
    assert (back.added, back.removed) == (there.removed, there.added)


def test_a_relabelled_case_says_how_volumes_changed():
    found = between(manifest(record(1)), manifest(record(1, label="x", ml=1.5)))
    (one,) = found.relabelled
    assert one.changes_ml == {"core": 0.5}
    assert one.sentence == "c01: core +0.500 ml."


def test_a_label_that_came_or_went_is_told_so():
    none, some = manifest(record(1, label=None)), manifest(record(1))
    assert between(none, some).relabelled[0].sentence == "c01: has a label now."
    assert between(some, none).relabelled[0].sentence == "c01: lost its label."


def test_a_file_that_differs_with_the_same_voxels_is_told_so():
    before = record(1)
    after = before.model_copy(update={"label": "other"})
    (one,) = between(manifest(before), manifest(after)).relabelled
    assert one.same_voxels
    assert "its voxels do not" in one.sentence


def test_other_images_and_names_are_told():
    after = manifest(record(1, image="j"), labels=(Label(value=1, name="whole"),))
    found = between(manifest(record(1)), after)
    assert found.reimaged == ("c01",)
    assert found.renamed == ("Labels: {1: 'core'} -> {1: 'whole'}.",)


def test_a_case_that_cannot_be_read_is_named():
    broken = record(1, label="x").model_copy(update={"fault": "its stream is damaged"})
    found = between(manifest(record(1)), manifest(broken))
    assert found.faulty[0].what == "its stream is damaged"
    assert "cannot be read" in found.relabelled[0].sentence


def test_brighter_cases_with_thicker_slices_stand_out():
    rng = np.random.default_rng(0)
    old = [record(n, mean=rng.normal(100, 5), ml=rng.normal(3, 0.3)) for n in range(30)]
    new = [record(n, mean=rng.normal(140, 5), ml=rng.normal(3, 0.3), spacing=2.0)
           for n in range(30, 40)]  # fmt: skip
    found = between(manifest(*old), manifest(*old, *new))
    moved = {shift.name for shift in found.shifts if shift.moved}
    assert moved == {"spacing K (mm)", "mean of T1"}
    assert found.shifts[0].p <= found.shifts[-1].p


def test_too_few_new_cases_say_nothing_about_shifts():
    old = [record(n) for n in range(10)]
    assert between(manifest(*old), manifest(*old, record(10), record(11))).shifts == ()
