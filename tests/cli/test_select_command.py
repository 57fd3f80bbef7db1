"""`medseg select` as it is typed."""

import json

import pytest
from refusing import image, run, write


@pytest.fixture
def pool(tmp_path):
    for n in range(4):
        write(tmp_path / f"pool/p{n}.nii.gz", image(n))
    return tmp_path / "pool"


def test_a_worklist_with_masks(pool, whole, tmp_path):
    found = run("select", pool, "--model", whole, "-n", "2", "--out", tmp_path / "w",
                "--strategy", "entropy", "--json")  # fmt: skip
    assert found.exit_code == 0, found.output
    chosen = json.loads(found.stdout)["chosen"]
    assert len(chosen) == 2
    assert chosen[0]["score"] >= chosen[1]["score"]
    assert len((tmp_path / "w" / "worklist.csv").read_text().splitlines()) == 3
    assert (tmp_path / f"w/images/labels/original/{chosen[0]['case']}.nii.gz").is_file()
    again = run("select", pool, "--model", whole, "--out", tmp_path / "w")
    assert again.exit_code == 1
    assert "A worklist gets a folder of its own" in again.output


def test_a_list_alone_writes_nothing(pool, whole, tmp_path):
    found = run("select", pool, "--model", whole, "-n", "2", "--out", tmp_path / "w",
                "--list-only")  # fmt: skip
    assert found.exit_code == 0, found.output
    assert "2 of 4 cases, by diverse" in found.output
    assert not (tmp_path / "w").exists()
