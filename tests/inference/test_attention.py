"""What gates let through: blended like probabilities, and on the grid of the case."""

import json

import numpy as np
import pytest
import torch
import typer
from small import make_bundle, make_plan, make_volume
from torch import nn
from typer.testing import CliRunner

from medseg.bundle import save_bundle
from medseg.cli.predict import predict
from medseg.errors import BundleError
from medseg.inference.attention import sweep_attention
from medseg.inference.batch import predict_cases
from medseg.inference.inputs import find_inputs
from medseg.inference.predict import Predictor
from medseg.inference.window import spans
from medseg.specs import AttentionUNetSpec, WindowSpec
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_volume, write_volume
from medseg.volume.volume import Volume

NAMES = ("stage3_gate1", "stage3_gate2", "stage2_gate1", "stage2_gate2")


def gated_plan(dims=3, *, is_gated=True):
    network = AttentionUNetSpec(
        dims=dims, in_channels=1, classes=3, features=(4, 4, 6, 6),
        strides=((1,) * dims, *((2,) * dims,) * 3), is_gated=is_gated,
    )  # fmt: skip
    return make_plan(dims=dims).model_copy(update={"network": network})


def set_to(bundle, alpha):
    """The same bundle, with gates that let this share of every voxel through."""
    logit = float(np.log(alpha / (1 - alpha)))
    for name, tensor in bundle.members[0].items():
        if name.endswith("psi.weight"):
            nn.init.zeros_(tensor)
        elif name.endswith("psi.bias"):
            nn.init.constant_(tensor, logit)
    return bundle


@pytest.fixture
def gated():
    return make_bundle(gated_plan())


class Places:
    """A network whose map is the first channel of its window, and one that is the opinion's."""

    opinions = 2

    def attention(self, batch):
        for n in range(self.opinions):
            yield np.concatenate([batch[:, :1], np.full_like(batch[:, :1], n)], axis=1)


@pytest.mark.parametrize("patch", [(6, 5, 4), (6, 12, 1)])
def test_windows_and_opinions_are_averaged(patch):
    image = np.random.default_rng(0).random((1, 9, 8, 7)).astype(np.float32)
    maps = sweep_attention(image, Places(), WindowSpec(patch_size=patch), count=2)
    np.testing.assert_allclose(maps[0], image[0], atol=1e-6)
    np.testing.assert_allclose(maps[1], 0.5, atol=1e-6)


def test_windows_that_disagree_count_by_their_shares():
    class FirstVoxel:
        opinions = 1

        def attention(self, batch):
            yield np.broadcast_to(batch[:, :1, :1, :1, :1], batch[:, :1].shape)

    spec = WindowSpec(patch_size=(4, 2, 2))
    image = np.arange(6, dtype=np.float32).reshape(1, 6, 1, 1) * np.ones((1, 1, 2, 2), np.float32)
    expected = np.zeros(6)
    for span in spans(6, 4, spec):
        expected[span.start : span.start + 4] += span.weights * span.start
    maps = sweep_attention(image, FirstVoxel(), spec, count=1)
    np.testing.assert_allclose(maps[0, :, 0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("mirrors", [False, True])
def test_a_constant_gate_gives_a_constant_map_on_the_grid_of_the_case(gated, mirrors):
    geometry = Geometry.from_spacing((1.6, 0.8, 1.0), (13, 24, 19), origin_mm=(5.0, -3.0, 2.0))
    array = np.random.default_rng(0).normal(size=(1, 13, 24, 19)).astype(np.float32)
    scan = Volume(array, geometry).reoriented("PIR")
    predictor = Predictor(set_to(gated, 0.3), mirrors=mirrors, attention=True)
    maps = dict(predictor.predict(scan).attention.volumes())
    assert tuple(maps) == NAMES
    for volume in maps.values():
        assert volume.geometry == scan.geometry
        assert volume.array.dtype == np.float32
        np.testing.assert_allclose(volume.array, 0.3, atol=1e-5)


def test_one_window_shows_what_the_network_gives(gated):
    scan = make_volume((16, 16, 16))
    prediction = Predictor(gated, attention=True).predict(scan)
    predictor = Predictor(gated)
    image = (scan.array - scan.array.mean()) / scan.array.std()
    with torch.no_grad():
        maps = predictor.engines[0].network.attention(torch.from_numpy(image)[None])
    expected = torch.cat(
        [nn.functional.interpolate(m, (16, 16, 16), mode="trilinear") for m in maps], dim=1
    )
    np.testing.assert_allclose(prediction.attention.array, expected[0].numpy(), atol=1e-4)


def test_a_mirrored_scan_has_mirrored_maps_if_mirrors_are_averaged(gated):
    scan = make_volume((16, 16, 16))
    turned = Volume(np.ascontiguousarray(scan.array[:, ::-1]), scan.geometry, scan.channel_names)
    predictor = Predictor(gated, mirrors=True, attention=True)
    one, other = (predictor.predict(x).attention.array for x in (scan, turned))
    np.testing.assert_allclose(other, one[:, ::-1], atol=1e-5)


def test_masks_are_the_same_with_and_without(gated, volume):
    seen = Predictor(gated, attention=True).predict(volume)
    blind = Predictor(gated).predict(volume)
    assert blind.attention is None
    np.testing.assert_array_equal(seen.label_map.array, blind.label_map.array)


def test_slices_have_maps_too():
    predictor = Predictor(make_bundle(gated_plan(2)), attention=True)
    prediction = predictor.predict(make_volume((20, 18, 3)))
    assert prediction.attention.array.shape == (4, 20, 18, 3)


@pytest.mark.parametrize(
    ("plan", "kind"),
    [(make_plan(), "plain_unet"), (gated_plan(is_gated=False), "attention_unet")],
)
def test_a_network_without_gates_is_refused(plan, kind):
    sentence = f"attention_unet has such gates.*of kind {kind} without gates.*Leave --attention"
    with pytest.raises(BundleError, match=sentence):
        Predictor(make_bundle(plan), attention=True)


app = typer.Typer(pretty_exceptions_enable=False)
app.command()(predict)


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def scan(tmp_path):
    write_volume(make_volume(), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def test_maps_lie_beside_the_mask_and_in_the_record(tmp_path, scan, gated):
    save_bundle(gated, tmp_path / "bundle")
    out = tmp_path / "out"
    result = run(scan, "--model", tmp_path / "bundle", "--out", out, "--attention")
    assert result.exit_code == 0, result.output
    assert "4 gates let through" in " ".join(result.stdout.split())
    files = [f"scan_attention_{name}.nii.gz" for name in NAMES]
    record = json.loads((out / "predictions.json").read_text())
    assert record["attention"] == list(NAMES)
    assert record["cases"][0]["attention"] == files
    expected = {"scan.nii.gz", "predictions.json", *files}
    assert {path.name for path in out.iterdir()} == expected
    for file in files:
        volume = read_volume(out / file)
        assert volume.geometry.same_space(make_volume().geometry)
        assert 0 <= volume.array.min() < volume.array.max() <= 1


def test_a_network_without_gates_is_one_coded_sentence_and_leaves_nothing(tmp_path, scan):
    save_bundle(make_bundle(), tmp_path / "bundle")
    out = tmp_path / "out"
    result = run(scan, "--model", tmp_path / "bundle", "--out", out, "--attention")
    assert result.exit_code == 1
    assert "error [bundle]:" in result.stderr
    assert not out.exists()


def test_a_case_whose_map_is_gone_is_predicted_again(tmp_path, scan, gated):
    save_bundle(gated, tmp_path / "bundle")
    out = tmp_path / "out"
    words = (scan, "--model", tmp_path / "bundle", "--out", out, "--resume")
    run(*words)
    mask = out / "scan.nii.gz"

    def made():
        return mask.stat().st_mtime_ns

    first = made()
    run(*words, "--attention")
    second = made()
    assert second > first, "the earlier run wrote no maps"
    run(*words, "--attention")
    assert made() == second
    (out / f"scan_attention_{NAMES[2]}.nii.gz").unlink()
    run(*words, "--attention")
    assert made() > second


def test_a_case_whose_maps_cannot_be_written_leaves_none(tmp_path, scan, gated):
    out = tmp_path / "out"
    (out / f"scan_attention_{NAMES[1]}.nii.gz").mkdir(parents=True)
    (outcome,) = predict_cases(find_inputs([scan]), Predictor(gated, attention=True), out)
    assert outcome.status == "failed"
    assert outcome.error.code == "file-write"
    left = {path.name for path in out.iterdir()}
    assert left == {"predictions.json", f"scan_attention_{NAMES[1]}.nii.gz"}
