"""A data set as numbers."""

import numpy as np
import pytest

from medseg.dataset.description import Case, Channel, DatasetDescription, read_case, read_case_label
from medseg.dataset.fingerprint import load_fingerprint, save_fingerprint, take_fingerprint
from medseg.dataset.importers import open_dataset
from medseg.errors import DatasetError, DifferentSpace, MissingPath
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume


def describe(folder, pairs) -> DatasetDescription:
    """Write pairs of image and label map, and describe them."""
    cases = []
    for n, (volume, labels) in enumerate(pairs):
        image, label = folder / f"{n}_image.nii.gz", folder / f"{n}_label.nii.gz"
        write_volume(volume, image)
        write_label_map(labels, label)
        cases.append(Case(id=str(n), images=(image,), label=label))
    channels = tuple(Channel(name=name, modality="MR") for name in pairs[0][0].channel_names)
    return DatasetDescription(
        name="made up", channels=channels, labels=pairs[0][1].labels, cases=tuple(cases)
    )


def test_numbers_are_those_of_all_foreground_voxels(tiny_dataset):
    description = open_dataset(tiny_dataset)
    pairs = [
        (read_case(description, case).array, read_case_label(description, case).array)
        for case in description.cases
    ]
    inside = np.concatenate([image[0][label > 0] for image, label in pairs]).astype(np.float64)
    fingerprint = take_fingerprint(description)
    (found,) = fingerprint.statistics
    assert found.mean == pytest.approx(inside.mean(), rel=1e-6)
    assert found.std == pytest.approx(inside.std(), rel=1e-6)
    assert (found.minimum, found.maximum) == (inside.min(), inside.max())
    low, median, high = np.percentile(inside, (0.5, 50, 99.5))
    assert found.percentile_00_5 == pytest.approx(low, rel=1e-5)
    assert found.median == pytest.approx(median, rel=1e-5)
    assert found.percentile_99_5 == pytest.approx(high, rel=1e-5)
    voxels = np.mean([np.bincount(label.ravel(), minlength=3) for _, label in pairs], axis=0)
    assert fingerprint.class_voxels == pytest.approx(tuple(voxels))
    assert fingerprint.foreground_share == pytest.approx(1 - voxels[0] / voxels.sum())
    assert fingerprint.cases == 6
    assert fingerprint.grid_sizes == ((12, 14, 10),) * 6
    assert fingerprint.spacings_mm == ((1, 1, 1.5),) * 6


def test_large_means_lose_no_digits(tmp_path, phantom):
    pairs = []
    for n in range(3):
        volume, labels = phantom(n)
        pairs.append((Volume(volume.array.astype(np.float64) + 1e7, volume.geometry), labels))
    plain = take_fingerprint(describe(tmp_path / "a", [phantom(n) for n in range(3)]))
    lifted = take_fingerprint(describe(tmp_path / "b", pairs))
    assert lifted.statistics[0].std == pytest.approx(plain.statistics[0].std, rel=1e-3)


def test_axes_and_borders_of_a_file_do_not_matter(tmp_path, phantom):
    volume, labels = phantom(0)
    array = volume.array.copy()
    array[:, :3] = array[:, :, -2:] = 0
    volume = Volume(array, volume.geometry)
    straight = take_fingerprint(describe(tmp_path / "a", [(volume, labels)]))
    turned = take_fingerprint(
        describe(tmp_path / "b", [(volume.reoriented("SPL"), labels.reoriented("SPL"))])
    )
    assert turned == straight.model_copy(update={"data_hash": turned.data_hash})
    assert turned.data_hash == straight.data_hash
    assert straight.grid_sizes == ((9, 12, 10),)
    assert straight.nonzero_share == pytest.approx(9 * 12 / 12 / 14)


def test_workers_change_nothing(tiny_dataset):
    description = open_dataset(tiny_dataset)
    assert take_fingerprint(description, workers=1) == take_fingerprint(description, workers=4)


def test_the_hash_follows_labels_and_names(tmp_path, phantom):
    volume, labels = phantom(0)
    before = take_fingerprint(describe(tmp_path, [(volume, labels)]))
    array = labels.array.copy()
    array[0, 0, 0] = 1
    other = LabelMap(array, labels.geometry, labels.labels)
    after = take_fingerprint(describe(tmp_path, [(volume, other)]))
    assert after.data_hash != before.data_hash


def test_a_case_without_foreground_adds_none(tmp_path, phantom):
    volume, labels = phantom(0)
    empty = LabelMap(np.zeros_like(labels.array), labels.geometry, labels.labels)
    alone = take_fingerprint(describe(tmp_path / "a", [(volume, labels)]))
    both = take_fingerprint(describe(tmp_path / "b", [(volume, labels), (volume, empty)]))
    assert both.statistics == alone.statistics
    nothing = take_fingerprint(describe(tmp_path / "c", [(volume, empty)]))
    assert nothing.statistics[0].std == 0
    assert nothing.foreground_share == 0


def test_no_labelled_case(tiny_dataset):
    description = open_dataset(tiny_dataset).model_copy(update={"cases": ()})
    with pytest.raises(DatasetError, match=r"cases with a label.*none"):
        take_fingerprint(description)


def test_a_nan_names_its_case(tmp_path, phantom):
    volume, labels = phantom(0)
    array = volume.array.copy()
    array[0, 0, 0, 0] = np.nan
    bad = describe(tmp_path, [(volume, labels), (Volume(array, volume.geometry), labels)])
    with pytest.raises(DatasetError, match=r"1_image.*1 voxels of 1680"):
        take_fingerprint(bad)


def test_a_label_on_another_grid_names_its_case(tmp_path, phantom):
    bad = describe(tmp_path, [(phantom(0)[0], phantom(0, grid=(12, 14, 9))[1])])
    with pytest.raises(DifferentSpace, match="image and label of 0"):
        take_fingerprint(bad)


def test_a_fingerprint_survives_its_file(tiny_dataset, tmp_path):
    fingerprint = take_fingerprint(open_dataset(tiny_dataset))
    save_fingerprint(fingerprint, tmp_path / "f.json")
    assert load_fingerprint(tmp_path / "f.json") == fingerprint
    (tmp_path / "f.json").write_text("{}")
    with pytest.raises(DatasetError, match="must hold a fingerprint"):
        load_fingerprint(tmp_path / "f.json")
    with pytest.raises(MissingPath, match="no file there"):
        load_fingerprint(tmp_path / "g.json")


@pytest.mark.data
def test_hippocampus(data_root):
    fingerprint = take_fingerprint(open_dataset(data_root / "Task04_Hippocampus"))
    assert fingerprint.cases == 180
    assert set(fingerprint.spacings_mm) == {(1, 1, 1)}
    assert np.median(fingerprint.grid_sizes, axis=0).round().tolist() == [35, 50, 36]
    _, anterior, posterior = fingerprint.class_voxels
    assert 1054 < posterior < anterior < 2593


def test_ignored_voxels_are_counted_nowhere(tmp_path, phantom):
    """What is ignored may as well be anything: the numbers are those of the judged voxels."""
    volume, labels = phantom(0)
    ignored = np.zeros(labels.array.shape, bool)
    ignored[:, :7] = True
    array = np.where(ignored, 9, labels.array).astype(np.uint8)
    known = (*labels.labels, Label(value=9, name="x"))
    description = describe(tmp_path, [(volume, LabelMap(array, labels.geometry, known))])
    description = description.model_copy(update={"labels": labels.labels, "ignored_value": 9})
    fingerprint = take_fingerprint(description)
    inside = volume.array[0][(array > 0) & ~ignored].astype(np.float64)
    assert fingerprint.statistics[0].mean == pytest.approx(inside.mean(), rel=1e-6)
    voxels = np.bincount(array[~ignored], minlength=3)
    assert fingerprint.class_voxels == tuple(voxels)
    assert fingerprint.foreground_share == pytest.approx(voxels[1:].sum() / voxels.sum())
    assert fingerprint.ignored_value == 9


def test_a_data_set_of_which_nothing_is_judged_has_no_foreground(tmp_path, phantom):
    volume, labels = phantom(0)
    nothing = LabelMap(np.full_like(labels.array, 9), labels.geometry, (Label(value=9, name="x"),))
    description = describe(tmp_path, [(volume, nothing)])
    description = description.model_copy(update={"labels": labels.labels, "ignored_value": 9})
    assert take_fingerprint(description).foreground_share == 0
