"""Layouts that are told by names alone."""

import shutil

import pytest

from medseg.dataset.description import read_case
from medseg.dataset.importers import open_dataset
from medseg.dataset.naming import pair
from medseg.errors import DatasetError
from medseg.volume.io import write_label_map


def ids(description) -> list[str]:
    return [case.id for case in description.cases]


@pytest.mark.parametrize("folders", [("images", "labels"), ("Images", "masks"), ("img", "gt")])
def test_image_and_label_folders(scans, folders, opens):
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


def test_names_of_labels_beside_the_folders(scans, opens):
    root = scans("images/a.nii.gz", labels=["labels/a.nii.gz"])
    (root / "labels.json").write_text('{"0": "background", "1": "ball", "2": "shell"}')
    assert [x.name for x in opens(root).labels] == ["ball", "shell"]
    (root / "labels.json").write_text("[1]")
    with pytest.raises(DatasetError, match=r"labels\.json is a table"):
        open_dataset(root)


def test_folders_with_channel_numbers(scans, opens):
    images = [f"images/case_{n}_000{c}.nii.gz" for n in range(2) for c in range(2)]
    description = opens(scans(*images, labels=[f"labels/case_{n}.nii.gz" for n in range(2)]))
    assert ids(description) == ["case_0", "case_1"]
    assert description.channel_names == ("channel_0", "channel_1")


def test_numbered_cases_are_no_channels(scans, opens):
    names = [f"scan_000{n}.nii.gz" for n in range(4)]
    images = [f"images/{name}" for name in names]
    description = opens(scans(*images, labels=[f"labels/{name}" for name in names[:3]]))
    assert ids(description) == ["scan_0000", "scan_0001", "scan_0002"]
    assert [case.id for case in description.unlabelled] == ["scan_0003"]
    assert any("1 image without a label" in note for note in description.notes)


def test_label_folders_whose_names_say_mask(scans, opens):
    description = opens(scans("images/a.nii.gz", labels=["masks/a_mask.nii.gz"]))
    assert ids(description) == ["a"]


def test_folders_for_each_patient_below_images_and_labels(scans, opens):
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


def test_flat_folder(scans, opens):
    images = [f"c{n}_{name}.nii.gz" for n in range(2) for name in ("0000_flair", "0001_t1c")]
    description = opens(scans(*images, labels=["c0_seg.nii.gz", "c1_seg.nii.gz"]))
    assert ids(description) == ["c0", "c1"]
    assert description.channel_names == ("flair", "t1c")


def test_flat_folder_of_channels_by_name_with_a_case_unlabelled(scans, opens):
    images = [f"brain-{n}_{name}.nii.gz" for n in (1, 2, 10) for name in ("t1", "t2")]
    description = opens(scans(*images, labels=["brain-1_seg.nii.gz", "brain-10_seg.nii.gz"]))
    assert ids(description) == ["brain-1", "brain-10"]
    assert [case.id for case in description.unlabelled] == ["brain-2"]
    assert len(description.unlabelled[0].images) == 2


def test_patient_folders_with_one_case(scans, opens):
    images = [f"p{n}/{name}.nii.gz" for n in range(3) for name in ("T1", "FLAIR")]
    description = opens(scans(*images, labels=[f"p{n}/seg.nii.gz" for n in range(2)]))
    assert ids(description) == ["p0", "p1"]
    assert description.channel_names == ("FLAIR", "T1")
    assert [case.patient for case in description.cases] == ["p0", "p1"]
    assert [case.id for case in description.unlabelled] == ["p2"]


def test_patient_folders_whose_files_carry_their_name(scans, opens):
    images = [f"p{n}/p{n}_{name}.nii.gz" for n in range(2) for name in ("t1", "flair")]
    description = opens(scans(*images, labels=[f"p{n}/p{n}_seg.nii.gz" for n in range(2)]))
    assert ids(description) == ["p0", "p1"]
    assert description.channel_names == ("flair", "t1")


def test_patient_folders_with_image_and_mask(scans, opens):
    description = opens(
        scans(
            *(f"p{n}/image.nii.gz" for n in range(2)),
            labels=[f"p{n}/mask.nii.gz" for n in range(2)],
        )
    )
    assert ids(description) == ["p0", "p1"]
    assert description.channel_names == ("image",)


def test_patient_folders_with_several_cases(scans, opens):
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


def test_one_mask_for_all_modalities_of_a_patient(scans):
    names = ("CT", "MR_T1", "PET")
    images = [f"p{n}/{name}_image.nii.gz" for n in range(2) for name in names]
    masks = [f"p{n}/CT_mask.nii.gz" for n in range(2)]
    description = open_dataset(scans(*images, labels=masks))
    assert ids(description) == ["p0", "p1"]
    assert [channel.modality for channel in description.channels] == ["CT", "MR", "PT"]
    assert description.unlabelled == ()


def test_an_image_of_the_same_modality_is_a_case_of_its_own(scans):
    images = [f"p{n}/{name}_image.nii.gz" for n in range(2) for name in ("CT_1", "CT_2")]
    description = open_dataset(scans(*images, labels=[f"p{n}/CT_1_mask.nii.gz" for n in range(2)]))
    assert ids(description) == ["p0", "p1"]
    assert len(description.channels) == 1
    assert len(description.unlabelled) == 2


def test_bids_with_derivatives(scans, opens):
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


def test_flat_bids(scans, opens):
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


def test_volume_and_segmentation_by_number(scans, opens):
    numbers = (0, 1, 10)
    images, masks = ([f"{w}-{n}.nii.gz" for n in numbers] for w in ("volume", "segmentation"))
    description = opens(scans(*images, labels=masks))
    assert ids(description) == ["0", "1", "10"]
    assert [case.images[0].name for case in description.cases] == sorted(images)


def test_volume_and_segmentation_in_folders(scans, opens):
    description = opens(scans("images/volume_7.nii.gz", labels=["labels/segmentation_7.nii.gz"]))
    assert ids(description) == ["7"]


def test_patient_folders_whose_mask_has_another_name(scans, opens):
    images = [f"p{n}/ct.nii.gz" for n in range(2)]
    description = opens(scans(*images, labels=[f"p{n}/mask_lesion.nii.gz" for n in range(2)]))
    assert ids(description) == ["p0", "p1"]
    assert [channel.modality for channel in description.channels] == ["CT"]


def test_parts_are_taken_together(scans, opens):
    parts = ("train", "val")
    description = opens(
        scans(
            *(f"{part}/images/{n}.nii.gz" for part in parts for n in "ab"),
            labels=[f"{part}/masks/{n}.nii.gz" for part in parts for n in "ab"],
        )
    )
    assert ids(description) == ["train_a", "train_b", "val_a", "val_b"]
    assert "train, val" in description.notes[0]


def test_images_and_labels_of_other_names_are_refused(scans):
    with pytest.raises(DatasetError, match=r"1 label file, such as x\.nii\.gz, and no image"):
        open_dataset(scans("images/a.nii.gz", labels=["labels/x.nii.gz"]))


def test_thousands_of_pictures_open_quickly_enough(tmp_path):
    images = [tmp_path / f"slide_{n}_of_7.png" for n in range(4000)]
    groups, rest = pair(images, {f"slide_{n}": [] for n in range(3000)})
    assert len(rest) == 1000
    assert groups["slide_2999"].images == {"of_7": images[2999]}


def test_groups_of_patients_are_no_patients(scans, opens):
    places = [f"HGG/p{n}" for n in range(2)] + ["LGG/p9"]
    images = [f"{place}/t1.nii.gz" for place in places]
    description = opens(scans(*images, labels=[f"{place}/seg.nii.gz" for place in places]))
    assert [case.patient for case in description.cases] == ["p0", "p1", "p9"]


def test_unnamed_groups_of_many_patients_are_no_patients(scans, opens):
    places = [f"site{n % 2}/p{n}" for n in range(10)]
    images = [f"{place}/t1.nii.gz" for place in places]
    description = opens(scans(*images, labels=[f"{place}/seg.nii.gz" for place in places]))
    assert [case.patient for case in description.cases] == [f"p{n}" for n in range(10)]


def test_sessions_of_a_patient_stay_together(scans, opens):
    places = [f"p{n}/visit{m}" for n in range(2) for m in range(6)]
    images = [f"{place}/t1.nii.gz" for place in places]
    description = opens(scans(*images, labels=[f"{place}/seg.nii.gz" for place in places]))
    assert {case.patient for case in description.cases} == {"p0", "p1"}
    assert ids(description)[0] == "p0_visit0"


def test_classes_below_images_are_no_patients(scans, opens):
    files = ["benign/a.nii.gz", "malignant/b.nii.gz"]
    description = opens(
        scans(*(f"images/{f}" for f in files), labels=[f"masks/{f}" for f in files])
    )
    assert [case.patient for case in description.cases] == [None, None]
