"""The script beside ONNX files repeats a prediction without medseg."""

import json
import shutil
import subprocess
import sys

import nibabel
import numpy as np
import pytest
from exports import CHANNEL, make_bundle, make_plan
from pydantic import TypeAdapter

from medseg.bundle import save_bundle
from medseg.compression.export import ExportSettings, export
from medseg.compression.pipeline import is_repeatable, pipeline_of
from medseg.compression.standalone import elected, normalised
from medseg.dataset.description import read_case
from medseg.dataset.normalise import ClipAndScale, Normalisation, ZScore, normalise
from medseg.dataset.phantom import make_phantom
from medseg.inference.predict import Predictor
from medseg.specs.postprocess import FilledHolesSpec, LargestComponentSpec, MinimumVolumeSpec
from medseg.volume.io import read_label_map, write_volume

STEPS = (
    LargestComponentSpec(structure="core"),
    FilledHolesSpec(structure="shell"),
    MinimumVolumeSpec(structure="shell", volume_ml=0.05),
)


def dice(one, other):
    return 2 * ((one == other) & (one > 0)).sum() / ((one > 0).sum() + (other > 0).sum())


def script_mask(bundle, scan, folder):
    """What the script says, run on a copy of its folder, in a process that knows no medseg."""
    done = export(bundle, ExportSettings("onnx"))
    copy = shutil.copytree(done.folder, folder / "alone")
    code = (
        "import sys; sys.modules['medseg'] = None; sys.argv = sys.argv[1:]\n"
        "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    words = [sys.executable, "-c", code, str(copy / "predict.py"), str(folder / "out.nii.gz")]
    subprocess.run([*words, str(scan)], check=True, capture_output=True, timeout=120)
    return folder / "out.nii.gz"


def test_it_gives_the_mask_of_medseg_on_the_phantom(tmp_path):
    volume, _ = make_phantom(np.random.default_rng(0))
    write_volume(volume, tmp_path / "scan.nii.gz")
    plan = make_plan().model_copy(update={"spacing_mm": (4.0, 4.0, 5.0), "crop_to_nonzero": True})
    bundle = save_bundle(make_bundle(plan, members=2), tmp_path / "bundle")
    expected = Predictor(bundle, engine="torch", precision="fp32").predict(volume).label_map
    found = read_label_map(script_mask(bundle, tmp_path / "scan.nii.gz", tmp_path))
    assert expected.geometry.same_space(found.geometry)
    assert len(np.unique(expected.array)) == 3
    assert dice(found.array, expected.array) >= 0.999


def test_slices_steps_and_turned_files_are_repeated_too(tmp_path, balls):
    ct = ClipAndScale(low=-50, high=350, mean=40, std=90)
    plan = make_plan(dims=2).model_copy(update={"normalisations": (ct,)})
    bundle = save_bundle(make_bundle(plan, postprocessing=STEPS), tmp_path / "bundle")
    case = balls.cases[4]
    expected = Predictor(bundle, engine="torch", precision="fp32").predict(read_case(balls, case))
    out = script_mask(bundle, case.images[0], tmp_path)
    found, scan = nibabel.load(out), nibabel.load(case.images[0])
    np.testing.assert_allclose(found.affine, scan.affine, atol=1e-5)
    assert found.shape == scan.shape
    assert dice(read_label_map(out).array, expected.label_map.array) >= 0.999


def test_the_pipeline_is_what_the_plan_says():
    bundle = make_bundle(postprocessing=STEPS)
    content = json.loads(json.dumps(pipeline_of(bundle)))
    assert content["is_complete"]
    assert content["spacing_mm"] == [1.1, 1.1, 2.0]
    assert content["class_values"] == [1, 4]
    assert content["networks"] == ["0.onnx"]
    assert content["normalisations"] == [ZScore().model_dump()]
    assert content["channels"] == [CHANNEL.model_dump()]
    assert [step["value"] for step in content["postprocessing"]] == [1, 4, 4]
    assert len(content["steps"]) == 10


@pytest.mark.parametrize("changes", [{"keeps_axes": True}, {"conventions": "nnunet"}])
def test_what_the_steps_do_not_say_has_no_script(changes):
    bundle = make_bundle(make_plan().model_copy(update=changes))
    assert not is_repeatable(bundle)
    assert not pipeline_of(bundle)["is_complete"]


def test_regions_are_painted_one_over_the_other():
    logits = np.array([[[3.0, 3.0, -1.0]], [[-2.0, 4.0, -1.0]]])
    regions = [{"name": "whole", "painted": 4}, {"name": "core", "painted": 1}]
    rest = {"class_values": [1, 4], "postprocessing": []}
    assert elected(logits, {"regions": regions, **rest}, 1.0).tolist() == [[4, 1, 0]]
    classes = np.array([[[0.0, 0.0]], [[1.0, -1.0]], [[2.0, -3.0]]])
    rest["regions"] = []
    assert elected(classes, rest, 1.0).tolist() == [[4, 0]]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"kind": "clip_and_scale", "low": 0, "high": 4, "mean": 1, "std": 2}, [-0.5, 0, 1.5]),
        ({"kind": "unit_range", "scale": 10}, [0, 0.1, 0.9]),
        ({"kind": "min_max"}, [0, 1 / 9, 1]),
        ({"kind": "z_score", "inside_nonzero": True}, [0, -1, 1]),
    ],
)
def test_intensities_are_those_of_medseg(rule, expected):
    image = np.array([0.0, 1.0, 9.0], np.float32).reshape(3, 1, 1)
    found = normalised(image, rule, image != 0)
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-6)
    ours = normalise(image, TypeAdapter(Normalisation).validate_python(rule), image != 0)
    np.testing.assert_allclose(found, ours, atol=1e-6)
