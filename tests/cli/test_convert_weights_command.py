"""`medseg convert-weights` from the outside."""

import json

import pytest
import torch
from monai.networks.nets import mednext
from refusing import refused, run

from medseg.bundle import build_member, load_bundle
from medseg.dataset.plan import load_plan


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    small = {"blocks_down": (1,), "blocks_bottleneck": 1, "blocks_up": (1,), "kernel_size": 3}
    ratios = {"encoder_expansion_ratio": 2, "decoder_expansion_ratio": 2}
    sizes = {"spatial_dims": 3, "init_filters": 4, "in_channels": 1, "out_channels": 3}
    return mednext.MedNeXt(**sizes, **small, **ratios, use_residual_connection=True).eval()


@pytest.fixture
def checkpoint(network, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"epoch": 3, "state_dict": network.state_dict()}, path)
    return path


def test_a_checkpoint_becomes_a_bundle(checkpoint, network, tmp_path):
    out, plan = tmp_path / "bundle", tmp_path / "plan.json"
    words = ("--labels", "liver, tumour", "--spacing-mm", "1,1,3", "--save-plan", plan)
    answer = run("convert-weights", checkpoint, "--arch", "mednext", "--out", out, *words)
    assert answer.exit_code == 0, answer.output
    assert "Names of MONAI's MedNeXt: 48 tensors" in answer.stdout
    assert "spacing 1 x 1 x 3 mm, labels liver, tumour" in answer.stdout
    bundle = load_bundle(out)
    assert bundle.plan == load_plan(plan)
    assert bundle.provenance.command.startswith("medseg")
    image = torch.randn(1, 1, 8, 8, 4)
    with torch.no_grad():
        assert (build_member(bundle)(image) - network(image)).abs().max() < 1e-4
    again = run("convert-weights", checkpoint, "--arch", "mednext", "--out", out)
    assert again.exit_code == 0, "a bundle replaces a bundle"


def test_machines_get_all_names(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    del state["stem.bias"]
    torch.save(state | {"extra": torch.ones(1)}, checkpoint)
    words = ("--arch", "mednext", "--out", tmp_path / "b", "--allow-missing", "--json")
    answer = run("convert-weights", checkpoint, *words)
    assert answer.exit_code == 0, answer.output
    facts = json.loads(answer.stdout)
    assert facts["homeless"] == ["extra"]
    assert facts["fresh"] == ["stem.bias"]
    assert facts["fresh_reason"] == "the checkpoint does not hold them"
    assert (facts["taken"], facts["members"]) == (47, 1)
    assert facts["plan"]["network"]["kind"] == "mednext"


def test_people_see_what_is_left_over_and_what_is_missing(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    torch.save(state | {f"extra.{n}": torch.ones(1) for n in range(20)}, checkpoint)
    words = ("--arch", "mednext", "--out", tmp_path / "b", "--labels", "a,b,c")
    said = run("convert-weights", checkpoint, *words).stdout
    assert "20 of the checkpoint found no home: extra.0, " in said
    assert "extra.11 and 8 more" in said
    assert "2 of ours are as before a training (the checkpoint has 3 classes, the plan 4)" in said


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('it ran')",)


def test_refusals_leave_no_bundle(checkpoint, tmp_path):
    out = tmp_path / "bundle"
    words = ("--arch", "mednext", "--out", out)

    def said(code, path, *more):
        sentence = refused(code, "convert-weights", path, *words, *more, at=tmp_path)
        assert not out.exists()
        return sentence

    assert "which is none" in said("file-missing", tmp_path / "nothing.pth")
    short = tmp_path / "short.pth"
    short.write_bytes(checkpoint.read_bytes()[:-500])
    assert "Copy or download it again" in said("file-unreadable", short)
    torch.save({"x": torch.ones(1), "y": Bomb()}, tmp_path / "code.pth")
    assert "objects of a program" in said("bundle-checkpoint", tmp_path / "code.pth")
    torch.save({"conv.weight": torch.ones(1)}, tmp_path / "other.pth")
    assert "has the names of" in said("bundle-checkpoint", tmp_path / "other.pth")
    assert "orientation" in said("plan", checkpoint, "--orientation", "up")
    assert "no file there" in said("file-missing", checkpoint, "--plan", tmp_path / "no.json")


def test_a_folder_with_other_things_is_not_replaced(checkpoint, tmp_path):
    keep = tmp_path / "home" / "thesis.txt"
    keep.parent.mkdir()
    keep.write_text("years of work")
    words = ("--arch", "mednext", "--out", keep.parent)
    sentence = refused("file-write", "convert-weights", checkpoint, *words, at=tmp_path)
    assert "holds something else" in sentence
    assert keep.read_text() == "years of work"


@pytest.mark.parametrize("text", ["1,2", "a,b,c", "1;1;1"])
def test_a_spacing_that_is_none_is_wrong_usage(text, checkpoint, tmp_path):
    words = ("--arch", "mednext", "--out", tmp_path / "b", "--spacing-mm", text)
    assert run("convert-weights", checkpoint, *words).exit_code == 2
