"""`medseg stream`, as a user types it."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
import typer
from made_up_sequence import SIZE, bundle_2d
from PIL import Image
from small import make_bundle, make_plan
from typer.testing import CliRunner

from medseg.bundle import load_bundle, save_bundle
from medseg.cli.stream import stream
from medseg.dataset.description import Channel
from medseg.inference.predict import Predictor
from medseg.volume.io import read_label_map, read_volume
from sequences import made_up_frames, write_cine

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(stream)


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def model(tmp_path):
    save_bundle(bundle_2d(), tmp_path / "bundle")
    return tmp_path / "bundle"


def write_clip(folder: Path, count: int = 5) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for n in range(count):
        pixels = rng.integers(0, 255, SIZE, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{n + 1}.png")
    return folder


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "clip")


def test_it_prints_times_by_stage(tmp_path, clip, model):
    result = run(clip, "--model", model, "--out", tmp_path / "masks")
    assert result.exit_code == 0, result.output
    for word in ("read", "network", "write", "latency, end to end", "p99", "5 frames in"):
        assert word in result.stdout
    assert "dropped" not in result.stdout


def test_masks_are_those_of_predict_under_the_names_of_the_frames(tmp_path, clip, model):
    run(clip, "--model", model, "--out", tmp_path / "masks")
    predictor = Predictor(load_bundle(str(model)), engine="torch")
    for name in ("1.png", "5.png"):
        alone = predictor.predict(read_volume(clip / name)).label_map
        assert (read_label_map(tmp_path / "masks" / name).array == alone.array).all()


def test_machines_get_one_object(tmp_path, clip, model):
    out = tmp_path / "masks"
    result = run(clip, "--model", model, "--out", out, "--live", "--fps", "5", "--json")
    report = json.loads(result.stdout)
    assert report == json.loads((out / "stream.json").read_text())
    assert (report["live"], report["fps"], report["frames"]) == (True, 5.0, 5)
    assert report["segmented"] + report["dropped"] == 5


def test_an_overlay_is_a_video(tmp_path, clip, model):
    pytest.importorskip("av", reason="PyAV is not installed")
    result = run(clip, "--model", model, "--out", tmp_path / "overlay.mp4")
    assert result.exit_code == 0, result.output
    assert "draw" in result.stdout
    assert (tmp_path / "overlay.mp4").stat().st_size > 0
    assert (tmp_path / "overlay.stream.json").is_file()


def test_a_cine_loop_becomes_a_dicom_seg(tmp_path, model):
    frames = np.random.default_rng(0).integers(0, 255, (4, *SIZE), dtype=np.uint8)
    loop = write_cine(tmp_path / "loop.dcm", frames)
    channels = (Channel(name="US", modality="US"),)
    save_bundle(make_bundle(make_plan(dims=2).model_copy(update={"channels": channels})), model)
    result = run(loop, "--model", model, "--out", tmp_path / "seg.dcm")
    assert result.exit_code == 0, result.output
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert seg.Modality == "SEG"
    assert {
        int(group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber)
        for group in seg.PerFrameFunctionalGroupsSequence
    } <= {1, 2, 3, 4}


def test_another_modality_is_refused(tmp_path, model):
    loop = write_cine(tmp_path / "loop.dcm", made_up_frames(2))
    result = run(loop, "--model", model, "--out", tmp_path / "masks")
    assert result.exit_code == 1
    assert "error [bundle-input]" in result.stderr
    assert "a US image" in result.stderr
    assert not (tmp_path / "masks").exists()


def test_a_broken_frame_is_a_sentence_with_its_number(tmp_path, clip, model):
    (clip / "4.png").write_bytes((clip / "4.png").read_bytes()[:50])
    result = run(clip, "--model", model, "--out", tmp_path / "masks")
    assert result.exit_code == 1
    assert "error [file-frame]: Every frame of clip must be whole." in result.stderr
    assert "frame 4: 4.png" in result.stderr
    assert "What was before it is kept: 3 frames." in result.stderr
    assert len(list((tmp_path / "masks").glob("*.png"))) == 3
    shutil.rmtree(tmp_path / "masks")
    result = run(clip, "--model", model, "--out", tmp_path / "masks", "--skip-broken")
    assert result.exit_code == 0
    assert "1 broken" in result.stdout


def test_wrong_names_are_one_sentence(tmp_path, clip, model):
    for words, code in (
        ((tmp_path / "nothing", "--out", tmp_path / "masks"), "file-missing"),
        ((clip, "--out", tmp_path / "overlay.avi"), "file-format"),
        ((clip, "--out", tmp_path / "seg.dcm"), "dicom-seg"),
    ):
        result = run(*words, "--model", model)
        assert result.exit_code == 1
        assert f"error [{code}]" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "clip"]


@pytest.mark.slow
def test_ctrl_c_ends_a_live_sequence_with_whole_files(tmp_path, model):
    clip, out = write_clip(tmp_path / "clip", 400), tmp_path / "masks"
    command = [sys.executable, "-m", "medseg", "stream", str(clip), "--model", str(model),
               "--out", str(out), "--live", "--fps", "5", "--engine", "torch"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while len(list(out.glob("*.png"))) < 3 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error [interrupted]: Stopped by the user" in told
    assert "Traceback" not in told
    report = json.loads((out / "stream.json").read_text())
    assert report["ended"] == "interrupted"
    masks = list(out.glob("*.png"))
    assert 3 <= len(masks) == report["segmented"] < 400
    assert all(read_label_map(path).array.shape[:2] == SIZE[::-1] for path in masks)
    assert not list(out.glob(".partial-*"))
