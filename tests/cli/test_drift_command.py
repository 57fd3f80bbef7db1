"""`medseg drift` as it is typed: a baseline, a check and a watch."""

import json
import os
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
from refusing import run

from medseg.bundle import load_bundle, save_bundle
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_volume, write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume

SIZE = (12, 12, 8)


def write_scan(path, seed, *, labels=None, noise=10.0):
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 100, SIZE[0])[:, None, None]
    array = (ramp + rng.normal(0, noise, SIZE)).astype(np.float32)
    geometry = Geometry.from_spacing((1.0, 1.0, 1.0), SIZE)
    write_volume(Volume(array[None], geometry), path)
    if labels is not None:
        values = (array > 50).astype(np.uint8)
        named = tuple(Label(value=label.value, name=label.name) for label in labels)
        write_label_map(LabelMap(values, geometry, named), path.parent / "labels" / path.name)


@pytest.fixture(scope="module")
def watched(whole, tmp_path_factory):
    """A bundle with a baseline of 20 cases, without labels."""
    root = tmp_path_factory.mktemp("watched")
    shutil.copytree(whole, root / "bundle")
    (root / "usual").mkdir()
    for n in range(20):
        write_scan(root / f"usual/u{n:02d}.nii.gz", n)
    made = run("drift", "baseline", root / "usual", "--model", root / "bundle", "--json")
    assert made.exit_code == 0, made.output
    return root


def cases(folder, count, *, noise=10.0, age=60.0):
    folder.mkdir(exist_ok=True)
    for n in range(count):
        path = folder / f"n{n:02d}.nii.gz"
        write_scan(path, 100 + n, noise=noise)
        os.utime(path, (time.time() - age + n,) * 2)
    return folder


def test_a_baseline_lies_beside_the_bundle(watched):
    about = json.loads((watched / "bundle" / "drift.json").read_text())
    assert len(about["cases"]) == 20
    assert set(about["thresholds"]) == {"ks", "mmd", "cusum"}
    assert (watched / "bundle" / "drift.safetensors").is_file()


def test_no_change_is_exit_code_0_and_a_change_is_3(watched, tmp_path):
    words = ("--model", watched / "bundle", "--out", tmp_path / "out")
    calm = run("drift", "check", cases(tmp_path / "calm", 4), *words)
    assert calm.exit_code == 0, calm.output
    assert "No change in 4 cases" in calm.output
    gauge = tmp_path / "drift.prom"
    changed = run(
        "drift", "check", cases(tmp_path / "noisy", 8, noise=60.0), *words, "--prometheus", gauge
    )
    assert changed.exit_code == 3, changed.output
    assert "ALARM: the data changed, most likely with n0" in changed.output
    assert "The data changed" in (tmp_path / "out" / "report.html").read_text()
    assert json.loads((tmp_path / "out" / "drift_report.json").read_text())["alarm"] is True
    assert "medseg_drift_alarm" in gauge.read_text()


def test_a_watch_that_looks_once(watched, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    words = ("--model", watched / "bundle", "--out", tmp_path / "out", "--once")
    nothing = run("drift", "watch", folder, *words)
    assert nothing.exit_code == 0
    assert "No case in" in nothing.output
    cases(folder, 6, noise=60.0)
    write_scan(folder / "on_its_way.nii.gz", 0)
    found = run("drift", "watch", folder, *words, "--json")
    assert found.exit_code == 3, found.output
    report = json.loads(found.stdout)
    assert [case["case"] for case in report["cases"]] == [f"n0{n}" for n in range(6)]


@pytest.fixture(scope="module")
def run_folder(whole, tmp_path_factory):
    """What a cross-validation of 20 cases leaves, as far as it counts here, and its data set."""
    root = tmp_path_factory.mktemp("run")
    bundle = load_bundle(whole)
    save_bundle(replace(bundle, members=bundle.members * 2, folder=None), root / "run" / "bundle")
    for name in ("images", "labels"):
        (root / "data" / name).mkdir(parents=True)
    for n in range(20):
        path = root / f"data/images/c{n:02d}.nii.gz"
        write_scan(path, n)
        values = (read_volume([path]).array[0] > 50).astype(np.uint8)
        named = (Label(value=1, name=bundle.labels[0].name),)
        geometry = read_volume([path]).geometry
        write_label_map(LabelMap(values, geometry, named), root / "data/labels" / path.name)
    metrics = {
        "measured_on": "cases that were held out",
        "cases": [{"case": f"c{n:02d}", "fold": n % 2} for n in range(20)],
        "folds": [{"fold": 0}, {"fold": 1}],
    }
    (root / "run" / "metrics.json").write_text(json.dumps(metrics))
    return root


def test_dice_is_foretold_by_the_cases_of_the_training(run_folder, tmp_path):
    made = run("drift", "calibrate", run_folder / "data", "--model", run_folder / "run", "--json")
    assert made.exit_code == 0, made.output
    facts = json.loads(made.stdout)
    assert (facts["cases"], facts["masks"]) == (20, 100)
    model = json.loads((run_folder / "run" / "bundle" / "quality.json").read_text())
    assert model["judges"] == "network"
    assert not (run_folder / "run" / "judged_masks.jsonl").exists()
    write_scan(tmp_path / "new.nii.gz", 77)
    told = run("predict", tmp_path / "new.nii.gz", "--model", run_folder / "run" / "bundle",
               "--out", tmp_path / "masks", "--foretell", "--json")  # fmt: skip
    assert told.exit_code == 0, told.output


def test_another_data_set_is_refused(run_folder, raw):
    other = run("drift", "calibrate", raw, "--model", run_folder / "run")
    assert other.exit_code == 1
    assert "without 20 of its 20 cases (c00 is one)" in " ".join(other.output.split())
    bundle = run("drift", "calibrate", raw, "--model", run_folder / "run" / "bundle")
    assert "the folder of a finished run" in " ".join(bundle.output.split())


def test_what_a_user_can_cause_is_one_sentence(watched, whole, tmp_path):
    few = run("drift", "baseline", cases(tmp_path / "few", 3), "--model", whole,
              "--out", tmp_path / "b")  # fmt: skip
    assert few.exit_code == 1
    assert "error [continual-drift]" in few.output
    assert not (tmp_path / "b").exists()
    none = run("drift", "check", tmp_path / "few", "--model", whole,
               "--out", tmp_path / "o")  # fmt: skip
    assert none.exit_code == 1
    assert "medseg drift baseline" in none.output
    gone = run("drift", "watch", tmp_path / "gone", "--model", watched / "bundle",
               "--out", tmp_path / "o", "--once")  # fmt: skip
    assert gone.exit_code == 1
    assert "A folder is watched" in gone.output
    labels = run("drift", "check", tmp_path / "few", "--model", watched / "bundle",
                 "--out", tmp_path / "o", "--labels", tmp_path / "gone")  # fmt: skip
    assert "Labels lie in a folder" in labels.output
