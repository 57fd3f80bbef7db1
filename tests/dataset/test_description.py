"""A description keeps what it was given, and refuses what contradicts itself."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from medseg.dataset.description import (
    FILE_NAME,
    Case,
    Channel,
    DatasetDescription,
    fit_channels,
    load_description,
    read_case,
    read_case_label,
    save_description,
)
from medseg.dataset.importers import open_dataset
from medseg.errors import (
    CannotWrite,
    DatasetError,
    DifferentSpace,
    LabelError,
    MissingPath,
)
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume

BALL = (Label(value=1, name="ball"),)
RGB = tuple(Channel(name=name, modality="RGB") for name in ("red", "green", "blue"))


def describe(*cases: Case, channels: int = 1, **more: object) -> DatasetDescription:
    names = tuple(Channel(name=f"c{n}") for n in range(channels))
    return DatasetDescription(name="d", channels=names, labels=BALL, cases=cases, **more)


def test_saving_and_loading_gives_the_same_back(tiny_dataset, tmp_path):
    description = open_dataset(tiny_dataset)
    save_description(description, tmp_path / "described")
    assert load_description(tmp_path / "described") == description
    assert load_description(tmp_path / "described" / FILE_NAME) == description


def test_data_and_description_move_together(tiny_dataset, tmp_path):
    save_description(open_dataset(tiny_dataset), tiny_dataset)
    moved = tmp_path / "elsewhere" / "data"
    shutil.copytree(tiny_dataset, moved)
    shutil.rmtree(tiny_dataset)
    description = load_description(moved)
    assert read_case(description, description.cases[0]).geometry.grid_size == (12, 14, 10)


def test_paths_far_away_stay_absolute(tiny_dataset, tmp_path):
    path = save_description(open_dataset(tiny_dataset), tmp_path / "a" / "b")
    assert str(tiny_dataset / "imagesTr") in path.read_text()


def test_a_description_stays_when_it_cannot_be_written(tiny_dataset, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotWrite, match="Results are written to"):
        save_description(open_dataset(tiny_dataset), tmp_path / "file")


def test_ids_are_unique():
    with pytest.raises(DatasetError, match="id of its own"):
        describe(Case(id="a", images=(Path("a"),)), Case(id="a", images=(Path("b"),)))


def test_a_case_has_a_file_for_each_channel():
    with pytest.raises(DatasetError, match="2 files for 3 channels in case a"):
        describe(Case(id="a", images=(Path("a"), Path("b"))), channels=3)


def test_label_names_are_unique():
    labels = (Label(value=1, name="ball"), Label(value=2, name="ball"))
    with pytest.raises(LabelError, match="twice: ball"):
        DatasetDescription(name="d", channels=(Channel(name="c"),), labels=labels, cases=())


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "Invalid JSON"), ("{}", "name: Field required"), ('{"nme": 1}', "Field required")],
)
def test_a_broken_description_is_refused(tmp_path, text, message):
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(DatasetError, match=message):
        load_description(tmp_path)


def test_no_description_is_refused(tmp_path):
    with pytest.raises(MissingPath, match=FILE_NAME):
        load_description(tmp_path)


def test_unknown_cases_are_refused(tiny_dataset):
    with pytest.raises(DatasetError, match="no such case"):
        open_dataset(tiny_dataset).case("nobody")


def test_a_case_is_read_with_the_names_of_the_data_set(tiny_dataset, phantom):
    description = open_dataset(tiny_dataset)
    volume = read_case(description, description.case("phantom_002"))
    expected, labels = phantom(2)
    np.testing.assert_array_equal(volume.array, expected.array)
    assert volume.channel_names == ("MRI",)
    np.testing.assert_array_equal(
        read_case_label(description, description.case("phantom_002")).array, labels.array
    )


def test_missing_files_are_named(tiny_dataset):
    description = open_dataset(tiny_dataset)
    case = description.cases[0]
    case.images[0].unlink()
    case.label.unlink()
    with pytest.raises(MissingPath, match="phantom_000"):
        read_case(description, case)
    with pytest.raises(MissingPath, match="labelsTr"):
        read_case_label(description, case)


def test_an_unlabelled_case_has_no_label_to_read(tiny_dataset):
    description = open_dataset(tiny_dataset)
    with pytest.raises(DatasetError, match="no label file"):
        read_case_label(description, description.unlabelled[0])


def test_unknown_values_are_refused(tiny_dataset):
    description = open_dataset(tiny_dataset)
    smaller = description.model_copy(update={"labels": BALL})
    with pytest.raises(LabelError, match="values 2"):
        read_case_label(smaller, smaller.cases[0])


def test_objects_become_one_structure(tmp_path):
    geometry = Geometry.from_spacing((1, 1, 1), (4, 4, 1))
    array = np.arange(16, dtype=np.uint16).reshape(4, 4, 1)
    labels = tuple(Label(value=n, name=str(n)) for n in range(1, 16))
    write_label_map(LabelMap(array, geometry, labels), tmp_path / "l.nii.gz")
    description = describe(
        Case(id="a", images=(tmp_path,), label=tmp_path / "l.nii.gz"), instances=True
    )
    read = read_case_label(description, description.cases[0])
    np.testing.assert_array_equal(read.array, array > 0)
    assert read.labels == BALL


def test_channels_on_different_grids_are_refused(tmp_path, phantom):
    for n, spacing in enumerate([(1, 1, 1), (2, 2, 2)]):
        write_volume(phantom(n, spacing_mm=spacing)[0], tmp_path / f"{n}.nii.gz")
    case = Case(id="a", images=(tmp_path / "0.nii.gz", tmp_path / "1.nii.gz"))
    with pytest.raises(DifferentSpace, match="--reference"):
        read_case(describe(case, channels=2), case)


def picture(channels: int, *, equal: bool = True) -> Volume:
    array = np.random.default_rng(0).integers(0, 255, (channels, 4, 5, 1)).astype(np.uint8)
    array = np.repeat(array[:1], channels, axis=0) if equal else array
    geometry = Geometry.from_spacing((1, 1, 1), (4, 5, 1))
    return Volume(array, geometry, tuple(str(n) for n in range(channels)))


def test_grey_pictures_fit_rgb():
    fitted = fit_channels(picture(1), RGB)
    assert fitted.channel_names == ("red", "green", "blue")
    np.testing.assert_array_equal(fitted.array[2], picture(1).array[0])


def test_equal_channels_fit_one():
    fitted = fit_channels(picture(3), (Channel(name="grey"),))
    np.testing.assert_array_equal(fitted.array, picture(1).array)


def test_colours_do_not_fit_one_channel():
    with pytest.raises(DatasetError, match=r"1 channels \(grey\).*3 in slide 7"):
        fit_channels(picture(3, equal=False), (Channel(name="grey"),), what="slide 7")
