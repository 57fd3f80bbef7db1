"""A prediction loads what it needs: without torch it starts sooner, in less memory."""

import json
import subprocess
import sys

import pytest

from medseg.bundle import load_bundle, save_bundle
from medseg.compression.export import ExportSettings, export
from medseg.inference.inputs import find_inputs
from medseg.inference.predict import Predictor
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_label_map, read_volume, write_volume
from medseg.volume.volume import Volume

SAID = """
import sys
from medseg.cli.app import main
try:
    main()
finally:
    heavy = ("torch", "numba", "scipy", "pydicom", "SimpleITK")
    print(sorted(name for name in heavy if name in sys.modules))
"""


def predict(*words):
    command = [sys.executable, "-c", SAID, "predict", *map(str, words)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return run.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def exported(learned_bundle, tmp_path_factory):
    bundle = save_bundle(learned_bundle, tmp_path_factory.mktemp("exported") / "bundle")
    export(bundle, ExportSettings("onnx"))
    export(bundle, ExportSettings("openvino"))
    return bundle


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_torch_is_not_loaded_and_the_mask_is_the_same(exported, kind, balls, tmp_path):
    image = balls.cases[0].images[0]
    words = [image, "--model", exported.folder, "--out", tmp_path, "--engine", kind]
    assert predict(*words) == "['numba', 'scipy']"  # to another spacing and back
    (written,) = json.loads((tmp_path / "predictions.json").read_text())["cases"]
    assert written["status"] == "done"
    found = read_label_map(tmp_path / written["file"], exported.labels)
    (case,) = find_inputs([image])
    here = Predictor(load_bundle(exported.folder), engine=kind).predict(case.read()).label_map
    assert (found.array == here.array).all()


def test_no_compiler_is_loaded_where_nothing_is_resampled(exported, balls, tmp_path):
    case = read_volume(balls.cases[0].images[0])
    geometry = Geometry.from_spacing(exported.plan.spacing_mm, case.geometry.grid_size)
    write_volume(Volume(case.array, geometry), tmp_path / "image.nii.gz")
    words = [tmp_path / "image.nii.gz", "--model", exported.folder, "--out", tmp_path / "out"]
    assert predict(*words, "--engine", "openvino") == "[]"


def test_this_test_can_fail(exported, balls, tmp_path):
    words = [balls.cases[0].images[0], "--model", exported.folder, "--out", tmp_path]
    assert "torch" in predict(*words, "--engine", "torch")
