"""Folders with a dataset.json: the Decathlon's list and nnU-Net's endings."""

import contextlib
import json
import random
from pathlib import Path

import pytest

from medseg.dataset.description import load_description, save_description
from medseg.dataset.importers import open_dataset
from medseg.errors import DatasetError, LabelError, MedsegError


def ids(description) -> list[str]:
    return [case.id for case in description.cases]


def test_msd(tiny_dataset, opens):
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


def test_nnunet_raw(scans, opens):
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


def test_nnunet_regions_become_values(scans, opens):
    files = [f"imagesTr/p_000{c}.nii.gz" for c in range(2)]
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    root = nnunet(scans(*files, labels=["labelsTr/p.nii.gz"]), labels=labels)
    description = opens(root)
    assert [(x.value, x.name) for x in description.labels] == [(1, "label_1"), (2, "core")]
    assert not description.regions
    assert "Without regions_class_order" in description.notes[0]


NESTED = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}


def test_nnunet_regions_with_their_order_are_kept(scans, opens):
    files = [f"imagesTr/p_000{c}.nii.gz" for c in range(2)]
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    root = nnunet(
        scans(*files, labels=["labelsTr/p.nii.gz"]), labels=labels, regions_class_order=[1, 2]
    )
    description = opens(root)
    assert [(x.name, x.values, x.painted) for x in description.regions] == [
        ("whole", (1, 2), 1),
        ("core", (2,), 2),
    ]
    assert not description.notes
    save_description(description, root / "described")
    assert load_description(root / "described") == description


def test_nnunet_ignored_voxels_are_no_structure(scans, opens):
    files = [f"imagesTr/p_000{c}.nii.gz" for c in range(2)]
    root = nnunet(
        scans(*files, labels=["labelsTr/p.nii.gz"]), labels=NESTED, regions_class_order=[1, 2, 3]
    )
    description = opens(root)
    assert description.ignored_value == 4
    assert [x.value for x in description.labels] == [1, 2, 3]
    assert [x.name for x in description.regions] == ["whole", "core", "enhancing"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"background": 0, "x": 2, "ignore": 1}}, "higher than that of every"),
        ({"labels": {"background": 0, "x": 1, "ignore": "no"}}, "whole numbers"),
        ({"labels": NESTED, "regions_class_order": [1, 2]}, "one value for each region"),
        ({"labels": NESTED, "regions_class_order": 1}, "one value for each region"),
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


def test_nnunet_regions_in_an_order_that_hides_one_are_refused(scans):
    files = [f"imagesTr/p_000{c}.nii.gz" for c in range(2)]
    root = nnunet(
        scans(*files, labels=["labelsTr/p.nii.gz"]), labels=NESTED, regions_class_order=[3, 2, 1]
    )
    with pytest.raises(LabelError, match="inner ones over the outer ones"):
        open_dataset(root)


def test_old_nnunet_lists_cases_without_channel_numbers(scans, opens):
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
        ('{"training": 5, "modality": {"0": "CT"}}', "has the form"),
        ('{"training": [], "modality": {"x": "CT"}}', "has the form"),
        ('{"training": [], "modality": {"0": ""}}', "at least 1 character"),
        ("[]", "is a table"),
        ('{"training": [7], "modality": {"0": "CT"}}', "has an image and a label"),
        ('{"training": [], "modality": {"0": "CT"}, "labels": {"0": "b", "1": "x"}}', "at least"),
    ],
)
def test_a_broken_dataset_json_is_refused(tmp_path, text, message):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DatasetError, match=message):
        open_dataset(tmp_path)


def test_a_case_without_a_label_in_the_list_is_unlabelled(tiny_dataset, opens):
    table = json.loads((tiny_dataset / "dataset.json").read_text())
    del table["training"][0]["label"]
    (tiny_dataset / "dataset.json").write_text(json.dumps(table))
    description = opens(tiny_dataset)
    assert len(description.cases) == 5
    assert [case.id for case in description.unlabelled] == ["phantom_000", "phantom_006"]


def test_patients_from_a_table(tiny_dataset, opens):
    rows = "".join(f"phantom_{n:03d}.nii.gz\tp{n // 2}\n" for n in range(6))
    (tiny_dataset / "subjects.tsv").write_text(f"file\tsubject\n{rows}")
    assert [case.patient for case in opens(tiny_dataset).cases] == [
        "p0",
        "p0",
        "p1",
        "p1",
        "p2",
        "p2",
    ]


NONSENSE = (None, 5, -1, 1.5, "", "x", "x" * 99, [], [[]], {}, {"x": "y"}, True)


def damaged(value: object, generator: random.Random) -> object:
    """The same JSON with one place, at any depth, changed to something else."""
    if isinstance(value, dict) and value and generator.random() < 0.8:
        key = generator.choice(sorted(value))
        return {**value, key: damaged(value[key], generator)}
    if isinstance(value, list) and value and generator.random() < 0.8:
        n = generator.randrange(len(value))
        return [*value[:n], damaged(value[n], generator), *value[n + 1 :]]
    return generator.choice(NONSENSE)


@pytest.mark.parametrize("seed", range(4))
def test_any_damage_to_a_dataset_json_is_one_sentence(tiny_dataset, seed):
    path = tiny_dataset / "dataset.json"
    sound = json.loads(path.read_text())
    channels = {key: value for key, value in sound.items() if key not in ("training", "modality")}
    for n in range(60):
        generator = random.Random(seed * 1000 + n)
        table = generator.choice([sound, {**channels, "channel_names": {"0": "T1"}}])
        path.write_text(json.dumps(damaged(table, generator)))
        with contextlib.suppress(MedsegError):
            assert open_dataset(tiny_dataset).cases
