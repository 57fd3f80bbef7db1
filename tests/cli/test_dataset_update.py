"""`medseg dataset import --update` as it is typed."""

import json

import pytest
from refusing import image, mask, refused, run, write, write_label


@pytest.fixture
def described(data):
    """The small data set, described in its own folder."""
    assert run("dataset", "import", data, "--out", data).exit_code == 0
    return data


def test_corrected_and_new_labels_are_taken(described, tmp_path):
    write_label(tmp_path / "back/c1.nii.gz", 1)
    write_label(tmp_path / "back/fresh.nii.gz", 1, 2)
    write(tmp_path / "pool/fresh.nii.gz", image(9) + 80 * mask(1, 2))
    answer = run("dataset", "import", tmp_path / "back", "--out", described, "--update",
                 "--images", tmp_path / "pool", "--json")  # fmt: skip
    assert answer.exit_code == 0, answer.output
    facts = json.loads(answer.stdout)
    assert (facts["added"], facts["relabelled"], facts["cases"]) == (["fresh"], ["c1"], 5)
    said = run("dataset", "import", tmp_path / "back", "--out", described, "--update").stdout
    assert "2 as they were: c1, fresh" in said


def test_what_does_not_belong_is_one_sentence(described, tmp_path):
    write_label(tmp_path / "back/stranger.nii.gz", 1)
    words = ["dataset", "import", tmp_path / "back", "--out", described, "--update"]
    assert "stranger" in refused("dataset", *words, at=tmp_path)
    (tmp_path / "back/stranger.nii.gz").unlink()
    write_label(tmp_path / "back/c1.nii.gz", 1, 7)
    refused("label", *words, at=tmp_path)
    write(tmp_path / "back/c1.nii.gz", mask(1)[:6].astype("uint8"), spacing_mm=1.7)
    refused("geometry-different", *words, at=tmp_path)
    assert (
        run("dataset", "import", tmp_path, "--out", tmp_path, "--images", tmp_path).exit_code == 2
    )
