"""Labels are taken back whole, and only where they belong; a refusal changes nothing."""

import shutil

import numpy as np
import pytest

from medseg.dataset.description import load_description, read_case_label, save_description
from medseg.dataset.importers import open_dataset
from medseg.dataset.update import update_labels
from medseg.errors import DatasetError, DifferentSpace, LabelError, MissingPath
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_volume, write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume


@pytest.fixture
def data(tiny_dataset, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(tiny_dataset, folder)
    save_description(open_dataset(folder), folder)
    return folder


@pytest.fixture
def labels(tmp_path):
    (tmp_path / "labels").mkdir()
    return tmp_path / "labels"


def corrected(data, n=0):
    """The label of the n-th case with the first value everywhere."""
    description = load_description(data)
    case = description.cases[n]
    old = read_case_label(description, case)
    value = description.labels[0].value
    return case.id, LabelMap(np.full_like(old.array, value), old.geometry, old.labels)


def state_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_corrected_label_takes_the_place_of_the_old_one(data, labels):
    name, label_map = corrected(data)
    write_label_map(label_map, labels / f"{name}.nii.gz")
    done = update_labels(data, labels)
    assert done.relabelled == (name,)
    description = load_description(data)
    found = read_case_label(description, description.case(name))
    assert np.array_equal(found.array, label_map.array)
    again = update_labels(data, labels)
    assert again.unchanged == (name,)
    assert again.relabelled == ()


def test_axes_in_another_order_are_put_right(data, labels):
    name, label_map = corrected(data)
    turned = label_map.reoriented("ASR")
    write_label_map(turned, labels / f"{name}_seg.nii.gz")
    update_labels(data, labels)
    description = load_description(data)
    found = read_case_label(description, description.case(name))
    assert found.geometry.same_space(label_map.geometry)
    assert np.array_equal(found.array, label_map.array)


def test_a_case_without_a_label_gets_one(data, labels):
    name, label_map = corrected(data)
    description = load_description(data)
    bare = description.case(name).model_copy(update={"label": None})
    rest = tuple(case for case in description.cases if case.id != name)
    update = {"cases": rest, "unlabelled": (bare,)}
    save_description(description.model_copy(update=update), data)
    write_label_map(label_map, labels / f"{name}.nii.gz")
    assert update_labels(data, labels).labelled == (name,)
    assert load_description(data).unlabelled == ()


def test_a_label_outside_of_the_folder_is_not_written_over(data, labels, tmp_path):
    name, label_map = corrected(data)
    described = load_description(data)
    save_description(described, tmp_path / "deeper" / "elsewhere")
    before = described.case(name).label.read_bytes()
    write_label_map(label_map, labels / f"{name}.nii.gz")
    done = update_labels(tmp_path / "deeper" / "elsewhere", labels)
    assert described.case(name).label.read_bytes() == before
    new = done.description.case(name).label
    assert new == tmp_path / "deeper" / "elsewhere" / "labels" / f"{name}.nii.gz"
    assert new.is_file()


def test_a_new_case_comes_with_its_image(data, labels, tmp_path):
    name, label_map = corrected(data)
    image = load_description(data).case(name).images[0]
    shutil.copyfile(image, tmp_path / "fresh.nii.gz")
    write_label_map(label_map, labels / "fresh.nii.gz")
    done = update_labels(data, labels, images={"fresh": [tmp_path / "fresh.nii.gz"]})
    assert done.added == ("fresh",)
    case = load_description(data).case("fresh")
    assert case.images[0].parent == image.parent
    assert case.images[0].read_bytes() == image.read_bytes()


def test_taking_it_twice_leaves_the_same_bytes(data, labels, tmp_path):
    name, label_map = corrected(data)
    write_label_map(label_map, labels / f"{name}.nii.gz")
    shutil.copytree(data, tmp_path / "twin")
    update_labels(data, labels)
    update_labels(tmp_path / "twin", labels)
    update_labels(tmp_path / "twin", labels)
    assert state_of(data) == state_of(tmp_path / "twin")


def test_unknown_cases_are_refused_by_name(data, labels):
    _, label_map = corrected(data)
    write_label_map(label_map, labels / "stranger.nii.gz")
    before = state_of(data)
    with pytest.raises(DatasetError, match=r"1 file of unknown cases: stranger\.nii\.gz"):
        update_labels(data, labels)
    assert state_of(data) == before


def test_unknown_values_are_refused_with_those_that_are_known(data, labels):
    name, label_map = corrected(data)
    strange = LabelMap(
        np.full_like(label_map.array, 77), label_map.geometry, (Label(value=77, name="x"),)
    )
    write_label_map(strange, labels / f"{name}.nii.gz")
    other, good = corrected(data, 1)
    write_label_map(good, labels / f"{other}.nii.gz")
    before = state_of(data)
    with pytest.raises(LabelError, match="77"):
        update_labels(data, labels)
    assert state_of(data) == before


def test_another_grid_is_refused_and_all_such_cases_are_named(data, labels):
    for n in (0, 1):
        name, label_map = corrected(data, n)
        moved = Geometry(
            label_map.geometry.affine + np.eye(4, 4, 3)[:, ::1] * 0.37,
            label_map.geometry.grid_size,
        )
        write_label_map(
            LabelMap(label_map.array, moved, label_map.labels), labels / f"{name}.nii.gz"
        )
    before = state_of(data)
    with pytest.raises(DifferentSpace, match="faults in 1 more case too"):
        update_labels(data, labels)
    assert state_of(data) == before


def test_a_new_case_of_other_channels_is_refused(data, labels, tmp_path):
    name, label_map = corrected(data)
    image = read_volume(load_description(data).case(name).images[0])
    twice = Volume(np.concatenate([image.array, image.array]), image.geometry, ("a", "b"))
    write_volume(twice, tmp_path / "fresh.nii.gz")
    write_label_map(label_map, labels / "fresh.nii.gz")
    with pytest.raises(DatasetError, match="2 in case fresh"):
        update_labels(data, labels, images={"fresh": [tmp_path / "fresh.nii.gz"]})


def test_two_labels_of_one_case_are_refused(data, labels):
    name, label_map = corrected(data)
    write_label_map(label_map, labels / f"{name}.nii.gz")
    write_label_map(label_map, labels / f"{name}_seg.nii.gz")
    with pytest.raises(DatasetError, match="Each case gets one label file"):
        update_labels(data, labels)


def test_no_labels_and_no_description_are_told(data, labels, tmp_path):
    with pytest.raises(MissingPath, match="none in"):
        update_labels(data, labels)
    with pytest.raises(MissingPath, match="nothing at"):
        update_labels(data, tmp_path / "nowhere")
    with pytest.raises(MissingPath, match="taken into a described data set"):
        update_labels(tmp_path, labels)
