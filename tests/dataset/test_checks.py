"""A check finds every fault that was put in, says the cure, and nothing else."""

import gzip
import json
import random
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.dataset.checks import Fault, check_dataset, without_faulty
from medseg.dataset.description import (
    Case,
    Channel,
    DatasetDescription,
    read_case_label,
)
from medseg.dataset.importers import open_dataset
from medseg.errors import FaultyDataset
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_volume, write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume


def faults_of(root: Path) -> list[Fault]:
    return list(check_dataset(open_dataset(root), root))


def only_fault(root: Path) -> Fault:
    faults = faults_of(root)
    assert len(faults) == 1, faults
    assert faults[0].cure.endswith(".")
    return faults[0]


def rewrite(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    """Write voxels of any type in place of a file, without any reader of ours."""
    old = nib.load(path)
    nib.save(nib.Nifti1Image(array, old.affine if affine is None else affine), path)


def label(root: Path, n: int = 2) -> Path:
    return root / "labelsTr" / f"phantom_{n:03d}.nii.gz"


def image(root: Path, n: int = 2) -> Path:
    return root / "imagesTr" / f"phantom_{n:03d}.nii.gz"


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def test_a_sound_data_set_has_no_fault(tiny_dataset):
    assert faults_of(tiny_dataset) == []


def test_missing_label(tiny_dataset):
    label(tiny_dataset).unlink()
    fault = only_fault(tiny_dataset)
    assert (fault.case, fault.kind, fault.severity) == ("phantom_002", "missing pair", "error")
    assert "no label at" in fault.what


def test_missing_image(tiny_dataset):
    image(tiny_dataset).unlink()
    fault = only_fault(tiny_dataset)
    assert (fault.kind, fault.severity) == ("missing pair", "error")
    assert "no image at" in fault.what


def test_image_and_label_of_different_size(tiny_dataset):
    rewrite(label(tiny_dataset), voxels(label(tiny_dataset))[:-1])
    fault = only_fault(tiny_dataset)
    assert (fault.kind, fault.severity) == ("grid mismatch", "error")
    assert "(12, 14, 10) against (11, 14, 10) voxels" in fault.what
    assert f"medseg convert {label(tiny_dataset)} OUT.nii.gz --reference" in fault.cure


def test_label_moved_by_half_a_voxel(tiny_dataset):
    affine = nib.load(label(tiny_dataset)).affine
    affine[0, 3] += 0.5
    rewrite(label(tiny_dataset), voxels(label(tiny_dataset)), affine)
    assert "corners up to 0.5 mm apart" in only_fault(tiny_dataset).what


def test_unknown_label_value(tiny_dataset):
    array = voxels(label(tiny_dataset)).copy()
    array[0, 0, 0] = 7
    rewrite(label(tiny_dataset), array)
    fault = only_fault(tiny_dataset)
    assert (fault.kind, fault.severity) == ("unknown label", "error")
    assert "holds 7; the data set has 0, 1, 2" in fault.what


def test_negative_label_value(tiny_dataset):
    array = voxels(label(tiny_dataset)).astype(np.int16)
    array[0, 0, 0] = -1
    rewrite(label(tiny_dataset), array)
    assert "holds -1" in only_fault(tiny_dataset).what


def test_whole_float_labels_are_a_warning(tiny_dataset):
    rewrite(label(tiny_dataset), voxels(label(tiny_dataset)).astype(np.float32))
    fault = only_fault(tiny_dataset)
    assert (fault.kind, fault.severity) == ("float labels", "warning")
    description = open_dataset(tiny_dataset)
    assert read_case_label(description, description.case("phantom_002")).array.dtype == np.uint8


@pytest.mark.parametrize("value", [0.5, 0.99999994, np.nan, np.inf])
def test_fractional_labels_are_an_error(tiny_dataset, value):
    array = voxels(label(tiny_dataset)).astype(np.float32)
    array[0, 0, :3] = value
    rewrite(label(tiny_dataset), array)
    fault = only_fault(tiny_dataset)
    assert (fault.kind, fault.severity) == ("float labels", "error")
    assert fault.what.startswith("3 voxels")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers(tiny_dataset, value):
    array = voxels(image(tiny_dataset)).copy()
    array[1, 2, 3:5] = value
    rewrite(image(tiny_dataset), array)
    fault = only_fault(tiny_dataset)
    assert (fault.kind, fault.severity) == ("not finite", "error")
    assert fault.what.startswith("2 voxels of phantom_002")


def test_constant_image(tiny_dataset):
    rewrite(image(tiny_dataset), np.full((12, 14, 10), 3, np.int16))
    fault = only_fault(tiny_dataset)
    assert (fault.kind, fault.severity) == ("constant image", "warning")


def test_empty_label(tiny_dataset):
    rewrite(label(tiny_dataset), np.zeros((12, 14, 10), np.uint8))
    fault = only_fault(tiny_dataset)
    assert (fault.kind, fault.severity) == ("empty label", "warning")


def test_label_that_never_occurs(tiny_dataset):
    table = json.loads((tiny_dataset / "dataset.json").read_text())
    table["labels"]["3"] = "ghost"
    (tiny_dataset / "dataset.json").write_text(json.dumps(table))
    fault = only_fault(tiny_dataset)
    assert (fault.case, fault.kind, fault.severity) == ("", "unused label", "warning")
    assert "ghost (value 3)" in fault.what


def test_the_same_voxels_twice(tiny_dataset):
    again = voxels(image(tiny_dataset, 1))
    nib.save(
        nib.Nifti1Image(again, nib.load(image(tiny_dataset, 1)).affine), image(tiny_dataset, 4)
    )
    fault = only_fault(tiny_dataset)
    assert (fault.case, fault.kind) == ("phantom_004", "duplicate")
    assert "the same voxels as phantom_001" in fault.what


def test_spacing_outlier(tiny_dataset):
    affine = np.diag([1.0, 1.0, 6.0, 1.0])
    for path in (image(tiny_dataset), label(tiny_dataset)):
        rewrite(path, voxels(path), affine)
    fault = only_fault(tiny_dataset)
    assert (fault.kind, fault.severity) == ("spacing outlier", "warning")
    assert "voxels of 1 x 1 x 6 mm; the median is 1 x 1 x 1.5 mm" in fault.what


def test_orientation_is_no_outlier(tiny_dataset):
    affine = np.diag([1.0, 1.0, 1.5, 1.0])[:, [2, 0, 1, 3]]
    for path in (image(tiny_dataset), label(tiny_dataset)):
        rewrite(path, voxels(path).transpose(2, 0, 1), affine)
    assert faults_of(tiny_dataset) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"no image at all",
        lambda content: gzip.compress(b"no image at all"),
        lambda content: gzip.compress(gzip.decompress(content)[:400]),
    ],
    ids=["truncated gzip", "zero bytes", "wrong magic", "gzip of text", "truncated voxels"],
)
@pytest.mark.parametrize("which", [image, label])
def test_damaged_files(tiny_dataset, which, damage):
    path = which(tiny_dataset)
    path.write_bytes(damage(path.read_bytes()))
    fault = only_fault(tiny_dataset)
    assert (fault.case, fault.kind, fault.severity) == ("phantom_002", "unreadable", "error")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".tif"])
def test_any_damage_to_a_file_is_a_fault_or_no_matter(tmp_path, phantom, suffix):
    volume, labels = phantom(0)
    paths = tmp_path / f"image{suffix}", tmp_path / f"label{suffix}"
    write_volume(volume, paths[0])
    write_label_map(labels, paths[1])
    sound = [path.read_bytes() for path in paths]
    description = DatasetDescription(
        name="d",
        channels=(Channel(name="c"),),
        labels=labels.labels,
        cases=(Case(id="a", images=paths[:1], label=paths[1]),),
    )
    for seed in range(40):
        generator = random.Random(seed)
        for path, content in zip(paths, sound, strict=True):
            path.write_bytes(damaged(content, generator))
        assert all(fault.cure for fault in check_dataset(description))


def damaged(content: bytes, generator: random.Random) -> bytes:
    """A few bytes changed, most of them in the header, and now and then the end cut off."""
    changed = bytearray(content)
    for _ in range(generator.choice([1, 3, 10])):
        changed[generator.randrange(min(len(changed), generator.choice([400, 10**9])))] = (
            generator.randrange(256)
        )
    if generator.random() < 0.2:
        changed = changed[: generator.randrange(len(changed))]
    return bytes(changed)


def test_stray_files(tiny_dataset):
    (tiny_dataset / ".DS_Store").write_bytes(b"x")
    (tiny_dataset / "imagesTr" / "._phantom_000.nii.gz").write_bytes(b"x")
    shutil.copy(image(tiny_dataset), tiny_dataset / "imagesTr" / "other.nii.gz")
    faults = faults_of(tiny_dataset)
    assert {(fault.kind, fault.severity) for fault in faults} == {("stray file", "warning")}
    found = " ".join(fault.what for fault in faults)
    assert ".DS_Store in" in found
    assert "._phantom_000.nii.gz in" in found
    assert "other.nii.gz in" in found


def test_wrong_number_of_channels(tiny_dataset):
    rewrite(image(tiny_dataset), np.stack([voxels(image(tiny_dataset))] * 2, axis=-1))
    fault = only_fault(tiny_dataset)
    assert fault.kind == "channels"
    assert "2 in phantom_002.nii.gz" in fault.what


@pytest.fixture
def two_channels(tmp_path, phantom) -> Path:
    """Four cases of two channels and a label, in one folder."""
    for n in range(4):
        first, labels = phantom(n)
        write_volume(first, tmp_path / f"c{n}_0000_t1.nii.gz")
        write_volume(phantom(n + 10)[0], tmp_path / f"c{n}_0001_t2.nii.gz")
        write_label_map(labels, tmp_path / f"c{n}_seg.nii.gz")
    return tmp_path


def test_channels_on_different_grids(two_channels):
    path = two_channels / "c1_0001_t2.nii.gz"
    volume = read_volume(path)
    coarse = Geometry.from_spacing((2, 2, 3), (6, 7, 5))
    write_volume(Volume(volume.array[:, ::2, ::2, ::2], coarse), path)
    fault = only_fault(two_channels)
    assert (fault.case, fault.kind) == ("c1", "grid mismatch")
    assert "--reference" in fault.cure


def test_missing_channel(two_channels):
    (two_channels / "c3_0001_t2.nii.gz").unlink()
    fault = only_fault(two_channels)
    assert (fault.case, fault.kind) == ("c3", "missing channel")
    assert "c3_0001_t2.nii.gz" in fault.what


def test_a_channel_copied_in_place_of_another(two_channels):
    shutil.copy(two_channels / "c0_0000_t1.nii.gz", two_channels / "c0_0001_t2.nii.gz")
    fault = only_fault(two_channels)
    assert (fault.case, fault.kind, fault.severity) == ("c0", "equal channels", "warning")


def test_an_image_without_a_label_among_labelled_ones(two_channels):
    (two_channels / "c3_seg.nii.gz").unlink()
    fault = only_fault(two_channels)
    assert (fault.case, fault.kind, fault.severity) == ("c3", "missing pair", "error")


def test_all_faults_are_listed_at_once(tiny_dataset):
    label(tiny_dataset, 0).unlink()
    image(tiny_dataset, 1).write_bytes(b"")
    rewrite(label(tiny_dataset, 2), np.zeros((12, 14, 10), np.uint8))
    rewrite(label(tiny_dataset, 3), voxels(label(tiny_dataset, 3)) * 2)
    (tiny_dataset / ".DS_Store").write_bytes(b"")
    kinds = [(fault.case, fault.kind) for fault in faults_of(tiny_dataset)]
    assert kinds == [
        ("phantom_000", "missing pair"),
        ("phantom_001", "unreadable"),
        ("phantom_003", "unknown label"),
        ("phantom_002", "empty label"),
        ("", "stray file"),
    ]


def test_going_on_without_faulty_cases(tiny_dataset):
    label(tiny_dataset, 0).unlink()
    rewrite(label(tiny_dataset, 2), np.zeros((12, 14, 10), np.uint8))
    description = open_dataset(tiny_dataset)
    sound = without_faulty(description, check_dataset(description))
    assert [case.id for case in sound.cases] == [f"phantom_{n:03d}" for n in (1, 2, 3, 4, 5)]
    assert "Left out because of errors: 1 case." in sound.notes
    assert all(fault.severity == "warning" for fault in check_dataset(sound))


def test_nothing_left_is_refused(tiny_dataset):
    shutil.rmtree(tiny_dataset / "labelsTr")
    description = open_dataset(tiny_dataset)
    with pytest.raises(FaultyDataset, match="errors in all 6"):
        without_faulty(description, check_dataset(description))


@pytest.mark.data
def test_channels_of_real_scans_on_own_grids(data_root):
    faults = faults_of(data_root / "sts_petct_mr" / "nifti")
    errors = [fault for fault in faults if fault.severity == "error"]
    assert {fault.kind for fault in errors} == {"grid mismatch"}
    assert len(errors) == 4
    assert all("--reference" in fault.cure for fault in errors)


@pytest.mark.data
@pytest.mark.parametrize(
    "folder", ["Task04_Hippocampus", "nuclei_2d", "em_membrane_2d", "brats2013_crop"]
)
def test_real_folders_have_no_error(data_root, folder):
    assert not [f for f in faults_of(data_root / folder) if f.severity == "error"]


def scribbled(folder: Path, *, judged: bool) -> DatasetDescription:
    """One case in which value 9 is ignored: all of it, or all but two voxels of background."""
    geometry = Geometry.from_spacing((1.0, 1.0, 1.0), (6, 6, 6))
    image = np.random.default_rng(0).normal(size=(1, 6, 6, 6)).astype(np.float32)
    write_volume(Volume(image, geometry), folder / "a.nii.gz")
    array = np.full((6, 6, 6), 9, np.uint8)
    if judged:
        array[0, 0, :2] = 0
        array[0, 1, :2] = 1
    labels = (Label(value=1, name="organ"),)
    write_label_map(
        LabelMap(array, geometry, (*labels, Label(value=9, name="x"))), folder / "l.nii"
    )
    return DatasetDescription(
        name="Scribbles",
        channels=(Channel(name="T1"),),
        labels=labels,
        cases=(Case(id="a", images=(folder / "a.nii.gz",), label=folder / "l.nii"),),
        ignored_value=9,
    )


def test_ignored_voxels_are_no_fault(tmp_path):
    assert not check_dataset(scribbled(tmp_path, judged=True), None)


def test_a_case_of_which_nothing_is_judged_is_warned_of(tmp_path):
    (fault,) = check_dataset(scribbled(tmp_path, judged=False), None)
    assert (fault.kind, fault.severity) == ("nothing judged", "warning")
    assert "every voxel of l.nii is ignored (value 9)" in fault.what
