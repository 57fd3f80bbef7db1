"""Every known layout opens; every other folder is refused with what was found."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.dataset.description import read_case, read_case_label, save_description
from medseg.dataset.importers import open_dataset
from medseg.errors import DatasetError, LabelError, MissingPath, UnreadableFile
from medseg.volume.io import write_label_map, write_volume


@pytest.fixture
def scans(tmp_path, phantom):
    """`scans("a/x.nii.gz", ...)` writes images, `labels=(...)` label maps, below tmp_path/data."""
    root = tmp_path / "data"

    def write(*images: str, labels: Iterable[str] = ()) -> Path:
        for n, name in enumerate(images):
            write_volume(phantom(n)[0], root / name)
        for n, name in enumerate(labels):
            write_label_map(phantom(n)[1], root / name)
        return root

    return write


@pytest.fixture
def pictures(tmp_path):
    """`pictures({"images/a.png": array})` writes pictures, below tmp_path/pictures."""
    root = tmp_path / "pictures"

    def write(arrays: dict[str, np.ndarray]) -> Path:
        for name, array in arrays.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / name)
        return root

    return write


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)


def mask(value: int = 255) -> np.ndarray:
    array = np.zeros((16, 16), np.uint8)
    array[4:8, 4:8] = value
    return array


def objects(count: int) -> np.ndarray:
    """`count` squares of 2 x 2 pixels, numbered from 1."""
    array = np.zeros((16, 16), np.uint8)
    for n in range(count):
        row, column = divmod(n, 5)
        array[3 * row : 3 * row + 2, 3 * column : 3 * column + 2] = n + 1
    return array


def opens(root: Path):
    """Open a data set, and read every case of it."""
    description = open_dataset(root)
    for case in description.cases:
        volume, labels = read_case(description, case), read_case_label(description, case)
        assert volume.channel_names == description.channel_names
        assert volume.geometry.same_space(labels.geometry)
    return description


def ids(description) -> list[str]:
    return [case.id for case in description.cases]


# Layouts with a dataset.json


def test_msd(tiny_dataset):
    description = opens(tiny_dataset)
    assert description.name == "Phantom"
    assert ids(description) == [f"phantom_{n:03d}" for n in range(6)]
    assert [case.id for case in description.unlabelled] == ["phantom_006"]
    assert [(label.value, label.name) for label in description.labels] == [
        (1, "ball"),
        (2, "shell"),
    ]
    assert description.channels[0].modality == "MR"
    assert description.licence == "CC0"


def test_msd_by_its_file_or_from_above(tiny_dataset):
    assert open_dataset(tiny_dataset / "dataset.json") == open_dataset(tiny_dataset)
    assert open_dataset(tiny_dataset.parent) == open_dataset(tiny_dataset)


def test_msd_finds_test_images_that_are_not_listed(tiny_dataset):
    table = json.loads((tiny_dataset / "dataset.json").read_text())
    del table["test"]
    (tiny_dataset / "dataset.json").write_text(json.dumps(table))
    (tiny_dataset / "imagesTs" / "._phantom_006.nii.gz").write_bytes(b"x")
    assert [case.id for case in open_dataset(tiny_dataset).unlabelled] == ["phantom_006"]


def nnunet(root: Path, **changes: object) -> Path:
    table = {
        "channel_names": {"0": "T2", "1": "ADC"},
        "labels": {"background": 0, "ball": 1, "shell": 2},
        "numTraining": 3,
        "file_ending": ".nii.gz",
        **changes,
    }
    (root / "dataset.json").write_text(json.dumps(table))
    return root


def test_nnunet_raw(scans):
    files = [f"imagesTr/p_{n}_000{c}.nii.gz" for n in range(3) for c in range(2)]
    tests = [f"imagesTs/t_000{c}.nii.gz" for c in range(2)]
    root = nnunet(scans(*files, *tests, labels=[f"labelsTr/p_{n}.nii.gz" for n in range(3)]))
    description = opens(root)
    assert ids(description) == ["p_0", "p_1", "p_2"]
    assert [case.id for case in description.unlabelled] == ["t"]
    assert [channel.modality for channel in description.channels] == ["MR", "MR"]
    assert [path.name for path in description.cases[1].images] == [
        "p_1_0000.nii.gz",
        "p_1_0001.nii.gz",
    ]


def test_nnunet_regions_become_values(scans):
    files = [f"imagesTr/p_000{c}.nii.gz" for c in range(2)]
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    root = nnunet(scans(*files, labels=["labelsTr/p.nii.gz"]), labels=labels)
    description = opens(root)
    assert [(x.value, x.name) for x in description.labels] == [(1, "label_1"), (2, "core")]
    assert "Regions" in description.notes[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"background": 0, "x": 1, "ignore": 2}}, "Every voxel of a training label"),
        ({"labels": {"background": 0}}, "names its labels"),
        ({"labels": {"background": 0, "x": "one"}}, "whole numbers"),
        ({"channel_names": {}}, "names its channels"),
        ({"file_ending": ".mha"}, "none in"),
    ],
)
def test_nnunet_that_cannot_be_used_is_refused(scans, changes, message):
    files = [f"imagesTr/p_000{c}.nii.gz" for c in range(2)]
    root = nnunet(scans(*files, labels=["labelsTr/p.nii.gz"]), **changes)
    with pytest.raises(DatasetError, match=message):
        open_dataset(root)


def test_old_nnunet_lists_cases_without_channel_numbers(scans):
    files = [f"imagesTr/p_000{c}.nii.gz" for c in range(2)]
    root = scans(*files, labels=["labelsTr/p.nii.gz"])
    table = {
        "modality": {"0": "T1", "1": "CT"},
        "labels": {"0": "background", "1": "ball", "2": "shell"},
        "training": [{"image": "./imagesTr/p.nii.gz", "label": "./labelsTr/p.nii.gz"}],
        "test": [],
    }
    (root / "dataset.json").write_text(json.dumps(table))
    assert [channel.modality for channel in opens(root).channels] == ["MR", "CT"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is JSON text"),
        ("[]", "is a table"),
        ('{"training": [7], "modality": {"0": "CT"}}', "has an image and a label"),
        ('{"training": [], "modality": {"0": "CT"}, "labels": {"0": "b", "1": "x"}}', "at least"),
    ],
)
def test_a_broken_dataset_json_is_refused(tmp_path, text, message):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DatasetError, match=message):
        open_dataset(tmp_path)


def test_a_described_data_set_comes_first(tiny_dataset):
    renamed = open_dataset(tiny_dataset).model_copy(update={"name": "mine"})
    save_description(renamed, tiny_dataset)
    assert open_dataset(tiny_dataset).name == "mine"
    assert open_dataset(tiny_dataset / "dataset.json").name == "Phantom"


# Layouts by names


@pytest.mark.parametrize("folders", [("images", "labels"), ("Images", "masks"), ("img", "gt")])
def test_image_and_label_folders(scans, folders):
    images, labels = folders
    description = opens(
        scans(
            f"{images}/a.nii.gz",
            f"{images}/b.nii.gz",
            labels=[f"{labels}/a.nii.gz", f"{labels}/b.nii.gz"],
        )
    )
    assert ids(description) == ["a", "b"]
    assert [(x.value, x.name) for x in description.labels] == [(1, "label_1"), (2, "label_2")]


def test_names_of_labels_beside_the_folders(scans):
    root = scans("images/a.nii.gz", labels=["labels/a.nii.gz"])
    (root / "labels.json").write_text('{"0": "background", "1": "ball", "2": "shell"}')
    assert [x.name for x in opens(root).labels] == ["ball", "shell"]
    (root / "labels.json").write_text("[1]")
    with pytest.raises(DatasetError, match=r"labels\.json is a table"):
        open_dataset(root)


def test_folders_with_channel_numbers(scans):
    images = [f"images/case_{n}_000{c}.nii.gz" for n in range(2) for c in range(2)]
    description = opens(scans(*images, labels=[f"labels/case_{n}.nii.gz" for n in range(2)]))
    assert ids(description) == ["case_0", "case_1"]
    assert description.channel_names == ("channel_0", "channel_1")


def test_numbered_cases_are_no_channels(scans):
    names = [f"scan_000{n}.nii.gz" for n in range(4)]
    images = [f"images/{name}" for name in names]
    description = opens(scans(*images, labels=[f"labels/{name}" for name in names[:3]]))
    assert ids(description) == ["scan_0000", "scan_0001", "scan_0002"]
    assert [case.id for case in description.unlabelled] == ["scan_0003"]
    assert any("1 image without a label" in note for note in description.notes)


def test_label_folders_whose_names_say_mask(scans):
    description = opens(scans("images/a.nii.gz", labels=["masks/a_mask.nii.gz"]))
    assert ids(description) == ["a"]


def test_folders_for_each_patient_below_images_and_labels(scans):
    files = ["p1/a.nii.gz", "p1/b.nii.gz", "p2/a.nii.gz"]
    description = opens(
        scans(*(f"images/{f}" for f in files), labels=[f"labels/{f}" for f in files])
    )
    assert ids(description) == ["b", "p1_a", "p2_a"]
    assert [case.patient for case in description.cases] == ["p1", "p1", "p2"]


def test_a_label_without_an_image_stays_in_view(scans):
    root = scans("images/a.nii.gz", labels=["labels/a.nii.gz", "labels/b.nii.gz"])
    description = open_dataset(root)
    assert ids(description) == ["a", "b"]
    assert description.cases[1].images == (root / "images" / "b.nii.gz",)


def test_dicom_folders_beside_labels(tmp_path, data_root, phantom):
    source = data_root / "dicom_hippocampus" / "Study1" / "13_HCropVolume"
    shutil.copytree(source, tmp_path / "images" / "one")
    (tmp_path / "labels").mkdir()
    write_label_map(phantom(0)[1], tmp_path / "labels" / "one.nii.gz")
    description = open_dataset(tmp_path)
    assert description.cases[0].images == (tmp_path / "images" / "one",)
    assert read_case(description, description.cases[0]).array.shape == (1, 35, 51, 32)


def test_flat_folder(scans):
    images = [f"c{n}_{name}.nii.gz" for n in range(2) for name in ("0000_flair", "0001_t1c")]
    description = opens(scans(*images, labels=["c0_seg.nii.gz", "c1_seg.nii.gz"]))
    assert ids(description) == ["c0", "c1"]
    assert description.channel_names == ("flair", "t1c")


def test_flat_folder_of_channels_by_name_with_a_case_unlabelled(scans):
    images = [f"brain-{n}_{name}.nii.gz" for n in (1, 2, 10) for name in ("t1", "t2")]
    description = opens(scans(*images, labels=["brain-1_seg.nii.gz", "brain-10_seg.nii.gz"]))
    assert ids(description) == ["brain-1", "brain-10"]
    assert [case.id for case in description.unlabelled] == ["brain-2"]
    assert len(description.unlabelled[0].images) == 2


def test_patient_folders_with_one_case(scans):
    images = [f"p{n}/{name}.nii.gz" for n in range(3) for name in ("T1", "FLAIR")]
    description = opens(scans(*images, labels=[f"p{n}/seg.nii.gz" for n in range(2)]))
    assert ids(description) == ["p0", "p1"]
    assert description.channel_names == ("FLAIR", "T1")
    assert [case.patient for case in description.cases] == ["p0", "p1"]
    assert [case.id for case in description.unlabelled] == ["p2"]


def test_patient_folders_whose_files_carry_their_name(scans):
    images = [f"p{n}/p{n}_{name}.nii.gz" for n in range(2) for name in ("t1", "flair")]
    description = opens(scans(*images, labels=[f"p{n}/p{n}_seg.nii.gz" for n in range(2)]))
    assert ids(description) == ["p0", "p1"]
    assert description.channel_names == ("flair", "t1")


def test_patient_folders_with_image_and_mask(scans):
    description = opens(
        scans(
            *(f"p{n}/image.nii.gz" for n in range(2)),
            labels=[f"p{n}/mask.nii.gz" for n in range(2)],
        )
    )
    assert ids(description) == ["p0", "p1"]
    assert description.channel_names == ("image",)


def test_patient_folders_with_several_cases(scans):
    images = [f"p{n}/p{n}_{m}.nii.gz" for n in range(2) for m in (3, 11)]
    masks = [image.replace(".nii", "_mask.nii") for image in images]
    description = opens(scans(*images, labels=masks))
    assert ids(description) == ["p0_11", "p0_3", "p1_11", "p1_3"]
    assert [case.patient for case in description.cases] == ["p0", "p0", "p1", "p1"]


def test_a_mask_for_each_channel(scans):
    names = ("CT", "PET")
    images = [f"p{n}/{name}_image.nii.gz" for n in range(2) for name in names]
    masks = [f"p{n}/{name}_mask.nii.gz" for n in range(2) for name in names]
    description = open_dataset(scans(*images, labels=masks))
    assert ids(description) == ["p0", "p1"]
    assert [channel.modality for channel in description.channels] == ["CT", "PT"]
    assert description.cases[0].label.name == "CT_mask.nii.gz"
    assert "mask of its own" in description.notes[0]


def test_bids_with_derivatives(scans):
    images, masks = [], []
    for subject in ("01", "02"):
        for session in ("a", "b"):
            stem = f"sub-{subject}_ses-{session}"
            place = f"sub-{subject}/ses-{session}/anat/{stem}"
            images += [f"{place}_T1w.nii.gz", f"{place}_FLAIR.nii.gz"]
            masks.append(f"derivatives/labels/sub-{subject}/ses-{session}/anat/{stem}_dseg.nii.gz")
    description = opens(scans(*images, labels=masks[:3]))
    assert ids(description) == ["sub-01_ses-a", "sub-01_ses-b", "sub-02_ses-a"]
    assert description.channel_names == ("FLAIR", "T1w")
    assert [case.patient for case in description.cases] == ["sub-01", "sub-01", "sub-02"]
    assert [case.id for case in description.unlabelled] == ["sub-02_ses-b"]


def test_flat_bids(scans):
    images = [f"sub-0{n}_T1w.nii.gz" for n in range(2)]
    description = opens(scans(*images, labels=[f"sub-0{n}_T1w_seg.nii.gz" for n in range(2)]))
    assert ids(description) == ["sub-00", "sub-01"]
    assert description.channel_names == ("T1w",)


def test_bids_with_two_labels_is_refused(scans):
    root = scans(
        "sub-1_T1w.nii.gz", labels=["sub-1_desc-a_mask.nii.gz", "sub-1_desc-b_mask.nii.gz"]
    )
    with pytest.raises(DatasetError, match="2 for sub-1"):
        open_dataset(root)


# Pictures


def test_files_that_number_objects(pictures):
    counts = {"a": 6, "b": 9, "c": 11}
    root = pictures(
        {f"images/{n}.png": noise(16, 16, 3) for n in counts}
        | {f"labels/{n}.png": objects(count) for n, count in counts.items()}
    )
    description = opens(root)
    assert description.instances
    assert [(x.value, x.name) for x in description.labels] == [(1, "object")]
    assert "up to 11 in one image" in description.notes[0]
    first = read_case_label(description, description.cases[0]).array
    assert first.sum() == 6 * 4


def test_structures_that_are_not_all_there_are_no_objects(pictures):
    pieces = objects(6)
    pieces[12:, 12:] = 1
    pieces[12:, :3] = 2
    seen = [np.where(pieces <= n, pieces, 0).astype(np.uint8) for n in (4, 5, 6)]
    seen[2][15, 8], seen[2][15, 10] = 3, 4
    root = pictures(
        {f"images/{n}.png": noise(16, 16, seed=n) for n in range(3)}
        | {f"labels/{n}.png": array for n, array in enumerate(seen)}
    )
    description = opens(root)
    assert not description.instances
    assert [x.value for x in description.labels] == [1, 2, 3, 4, 5, 6]


def test_black_and_white_masks(pictures):
    description = opens(pictures({"images/a.png": noise(16, 16), "masks/a.png": mask()}))
    assert [(x.value, x.name) for x in description.labels] == [(255, "foreground")]
    assert description.channel_names == ("image",)


def test_grey_and_colour_pictures_mixed(pictures):
    root = pictures(
        {"images/a.png": noise(16, 16), "images/b.jpg": noise(16, 16, 3)}
        | {"masks/a.png": mask(), "masks/b.png": mask()}
    )
    assert opens(root).channel_names == ("red", "green", "blue")


def test_patients_from_a_table(pictures):
    root = pictures(
        {f"images/{n}.png": noise(16, 16, seed=n) for n in range(3)}
        | {f"masks/{n}.png": mask() for n in range(3)}
    )
    (root / "clinical.csv").write_text(
        "filename,Patient ID,age\n0.png,9,40\n1.png,9,\n2.png,4,50\n"
    )
    assert [case.patient for case in opens(root).cases] == ["9", "9", "4"]


def test_overlapping_masks_are_refused(pictures):
    root = pictures(
        {"images/a.png": noise(16, 16), "masks/a__lung.png": mask()}
        | {"masks/a__opacity.png": mask(), "masks/a__heart.png": mask()[::-1, ::-1]}
    )
    with pytest.raises(DatasetError, match=r"overlapping.*lung and opacity share 16 voxels"):
        open_dataset(root)


def test_several_masks_that_do_not_overlap_are_refused(pictures):
    root = pictures(
        {"images/a.png": noise(16, 16), "masks/a__left.png": mask()}
        | {"masks/a__right.png": mask()[::-1, ::-1]}
    )
    with pytest.raises(DatasetError, match=r"one label file.*2 for case a"):
        open_dataset(root)


def test_jpeg_labels_are_refused(pictures):
    root = pictures({"images/a.png": noise(16, 16), "masks/a.jpg": noise(16, 16)})
    with pytest.raises(DatasetError, match="JPEG"):
        open_dataset(root)


def test_photographs_as_labels_are_refused(pictures):
    root = pictures({"images/a.png": noise(16, 16), "masks/a.png": noise(16, 16, 3)})
    with pytest.raises(LabelError, match="colours"):
        open_dataset(root)


def test_empty_labels_alone_are_refused(pictures):
    root = pictures({"images/a.png": noise(16, 16), "masks/a.png": mask(0)})
    with pytest.raises(DatasetError, match="only background"):
        open_dataset(root)


def test_two_images_of_one_name_are_refused(pictures):
    root = pictures(
        {"images/a.png": noise(16, 16), "images/a.jpg": noise(16, 16), "masks/a.png": mask()}
    )
    with pytest.raises(DatasetError, match=r"a\.jpg and a\.png"):
        open_dataset(root)


def test_damaged_labels_alone_are_refused(pictures):
    root = pictures({"images/a.png": noise(16, 16), "masks/a.png": mask()})
    (root / "masks" / "a.png").write_bytes(b"nothing")
    with pytest.raises(UnreadableFile, match=r"a\.png"):
        open_dataset(root)


def test_what_systems_leave_behind_is_passed_over(pictures):
    root = pictures({"images/a.png": noise(16, 16), "masks/a.png": mask()})
    for name in ("images/._a.png", "masks/._a.png", "images/.DS_Store", "__MACOSX/x.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"x")
    assert ids(opens(root)) == ["a"]


# What is no data set


def test_an_unknown_folder_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "a").mkdir()
    with pytest.raises(
        DatasetError, match=r"1 folder \(a\), 1 file \.txt.*Known are: a folder with"
    ):
        open_dataset(tmp_path)


def test_images_without_labels_are_refused(scans):
    with pytest.raises(DatasetError, match="no label file among them"):
        open_dataset(scans("a.nii.gz", "b.nii.gz"))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="an empty folder"):
        open_dataset(tmp_path)


def test_nothing_is_refused(tmp_path):
    with pytest.raises(MissingPath, match="nothing at"):
        open_dataset(tmp_path / "none")


def test_any_other_file_is_refused(tmp_path):
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(DatasetError, match="must describe a data set"):
        open_dataset(tmp_path / "x.txt")


# Real folders


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "cases", "channels", "values"),
    [
        ("Task04_Hippocampus", 180, ["MRI"], [1, 2]),
        ("nuclei_2d", 18, ["red", "green", "blue"], [1]),
        ("em_membrane_2d", 7, ["image"], [255]),
        ("brats2013_crop", 1, ["flair", "t1c"], [1, 2, 3, 4]),
        ("lgg_2d_multichannel", 24, ["red", "green", "blue"], [255]),
    ],
)
def test_real_folders(data_root: Path, folder, cases, channels, values):
    description = opens(data_root / folder)
    assert len(description.cases) == cases
    assert list(description.channel_names) == channels
    assert [label.value for label in description.labels] == values
    assert description.instances == (folder == "nuclei_2d")


@pytest.mark.data
def test_real_patients(data_root: Path):
    description = open_dataset(data_root / "lgg_2d_multichannel")
    assert len({case.patient for case in description.cases}) == 8
    assert description.cases[0].patient == "TCGA_CS_5396_20010302"


@pytest.mark.data
def test_real_channels_on_own_grids(data_root: Path):
    description = open_dataset(data_root / "sts_petct_mr" / "nifti")
    assert ids(description) == ["STS_019", "STS_025"]
    assert [channel.modality for channel in description.channels] == ["CT", "MR", "PT"]


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("cxr_2d", r"overlapping masks cannot become one.*airways and cardiomediastinum share"),
        ("ct_totalseg", r"2 for case example: example_seg.nii.gz, example_seg_dicom.nii.gz"),
        ("dicom_messy_folder", "no label file among them"),
        ("dicom_odd", "no label file among them"),
    ],
)
def test_real_folders_that_are_refused(data_root: Path, folder, message):
    with pytest.raises(DatasetError, match=message):
        open_dataset(data_root / folder)
