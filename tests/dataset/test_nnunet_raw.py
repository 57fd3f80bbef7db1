"""Export to nnU-Net's raw layout: read back it is the same data set."""

import json

import numpy as np
import pytest

from medseg.dataset.description import Case, Channel, DatasetDescription, read_case, read_case_label
from medseg.dataset.folds import Folds
from medseg.dataset.importers import open_dataset
from medseg.dataset.nnunet_raw import export_nnunet
from medseg.errors import CannotWrite, DatasetError, DifferentSpace
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.regions import PaintedRegion
from medseg.volume.volume import LabelMap, Source, Volume

SIZE = (5, 4, 3)
SOURCE = Source((), "nifti")


def write_case(folder, name, values, *, ending=".nii.gz", channels=1, turned=False, seed=0):
    geometry = Geometry(np.diag([1.0, 1.5, 2.0, 1.0]), SIZE)
    generator = np.random.default_rng(seed)
    array = generator.integers(0, 99, (channels, *SIZE)).astype(np.int16)
    names = tuple(f"c{n}" for n in range(channels))
    image, label = folder / f"{name}{ending}", folder / f"{name}_label{ending}"
    write_volume(Volume(array, geometry, names, SOURCE), image)
    drawn = generator.choice(np.array([0, *values]), SIZE).astype(np.uint8)
    drawn.flat[: len(values)] = values
    structures = tuple(Label(value=v, name=f"x{v}") for v in sorted(values))
    label_map = LabelMap(drawn, geometry, structures, SOURCE)
    write_label_map(label_map.reoriented("LPI") if turned else label_map, label)
    return Case(id=name, images=(image,), label=label)


def described(cases, values=(1, 2), **facts):
    return DatasetDescription(
        **{
            "name": "Small study",
            "channels": (Channel(name="T2w", modality="MR"),),
            "labels": tuple(Label(value=v, name=f"x{v}") for v in values),
            "cases": tuple(cases),
        }
        | facts
    )


def without_places(description):
    """All that does not say where files lie."""
    facts = description.model_dump(mode="json")
    for case in facts["cases"] + facts["unlabelled"]:
        case.pop("images")
        case["label"] = case["label"] is not None
    return facts


def exported(description, tmp_path, **options):
    return export_nnunet(description, tmp_path / "raw", number=7, **options)


def test_files_that_fit_are_links_and_the_data_set_is_the_same(tmp_path):
    cases = [write_case(tmp_path, name, (1, 2)) for name in ("a", "b")]
    cases[0] = cases[0].model_copy(update={"patient": "p,1"})
    there = described(cases, licence="CC0", unlabelled=(Case(id="c", images=cases[0].images),))
    done = exported(there, tmp_path)
    assert done.folder.name == "Dataset007_Small_study"
    assert (done.linked, done.written) == (5, 0)
    assert (done.folder / "imagesTr" / "a_0000.nii.gz").samefile(cases[0].images[0])
    back = open_dataset(done.folder)
    assert without_places(back) == without_places(there)
    assert back.unlabelled[0].images[0].parent.name == "imagesTs"


def test_values_lose_their_gaps_and_ignored_voxels_come_last(tmp_path):
    case = write_case(tmp_path, "a", (2, 5, 9))
    there = described([case], (2, 5), ignored_value=9)
    done = exported(there, tmp_path)
    assert done.values == {2: 1, 5: 2, 9: 3}
    assert done.linked == 1, "the image; its label has other values"
    table = json.loads((done.folder / "dataset.json").read_text())
    assert table["labels"] == {"background": 0, "x2": 1, "x5": 2, "ignore": 3}
    back = open_dataset(done.folder)
    before = read_case_label(there, case).array
    after = read_case_label(back, back.cases[0]).array
    for old, new in done.values.items():
        assert np.array_equal(before == old, after == new)


def test_regions_keep_their_order_and_labels_their_names(tmp_path):
    regions = (
        PaintedRegion(name="whole", values=(1, 2), painted=1),
        PaintedRegion(name="core", values=(2,), painted=2),
    )
    there = described([write_case(tmp_path, "a", (1, 2))], regions=regions)
    done = exported(there, tmp_path)
    table = json.loads((done.folder / "dataset.json").read_text())
    assert table["labels"] == {"background": 0, "whole": [1, 2], "core": 2}
    assert table["regions_class_order"] == [1, 2]
    assert without_places(open_dataset(done.folder)) == without_places(there)


@pytest.mark.parametrize("ending", [".nii", ".nrrd", ".nii.gz"])
def test_each_channel_becomes_a_file_of_its_own(ending, tmp_path):
    channels = (Channel(name="a", modality="CT"), Channel(name="b", modality="PT"))
    case = write_case(tmp_path, "a", (1, 2), channels=2, ending=ending, turned=True)
    there = described([case], channels=channels)
    done = exported(there, tmp_path)
    assert (done.linked, done.written) == (0, 3)
    table = json.loads((done.folder / "dataset.json").read_text())
    assert table["channel_names"] == {"0": "CT", "1": "b"}
    back = open_dataset(done.folder)
    assert without_places(back) == without_places(there)
    first, second = (read_case(one, one.cases[0]) for one in (there, back))
    assert np.array_equal(first.array, second.array)
    assert second.geometry.same_space(first.geometry)
    label = read_case_label(back, back.cases[0])
    assert label.array.shape == SIZE
    assert label.geometry.orientation == second.geometry.orientation == "RAS"


def test_objects_become_the_structure_that_they_are(tmp_path):
    case = write_case(tmp_path, "a", (1, 4, 7))
    there = described([case], (1,), instances=True)
    back = open_dataset(exported(there, tmp_path).folder)
    assert read_case_label(back, back.cases[0]).array.max() == 1


def test_folds_are_those_of_the_data_set(tmp_path):
    there = described([write_case(tmp_path, name, (1, 2)) for name in "abc"])
    folds = Folds(seed=0, count=2, validation=(("a", "c"), ("b",)))
    done = exported(there, tmp_path, folds=folds)
    assert json.loads((done.folder / "splits_final.json").read_text()) == [
        {"train": ["b"], "val": ["a", "c"]},
        {"train": ["a", "c"], "val": ["b"]},
    ]


def test_an_export_replaces_an_export_and_nothing_else(tmp_path):
    there = described([write_case(tmp_path, "a", (1, 2))])
    folder = exported(there, tmp_path).folder
    assert exported(there, tmp_path).folder == folder
    (folder / "dataset.json").unlink()
    with pytest.raises(CannotWrite, match="which holds something else"):
        exported(there, tmp_path)
    with pytest.raises(DatasetError, match="from 1 to 999"):
        export_nnunet(there, tmp_path, number=1000)


def test_image_and_label_elsewhere_leave_nothing_behind(tmp_path):
    case = write_case(tmp_path, "a", (1, 2))
    other = Geometry(np.diag([1.0, 1.5, 3.0, 1.0]), SIZE)
    write_volume(Volume(np.zeros((1, *SIZE), np.int16), other, ("c",), SOURCE), case.images[0])
    with pytest.raises(DifferentSpace, match="image and label of case a"):
        exported(described([case]), tmp_path)
    assert not list((tmp_path / "raw").iterdir())
