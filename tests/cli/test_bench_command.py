"""`medseg bench` as it is typed."""

import json

from typer.testing import CliRunner

from medseg.cli import bench as command
from medseg.cli.app import app
from medseg.cli.console import Console
from medseg.compression.costs import CaseCost, Costs, EngineCost


def case(seconds, *, is_measured):
    return CaseCost(
        case="small", grid=(8, 8, 8), windows=3, seconds=seconds, is_measured=is_measured
    )


FOUND = Costs(
    bundle="Balls 0123", processor="a processor", threads=1, networks=2,
    engines=(
        EngineCost(engine="torch fp32", patch_ms=50.0, megabytes=2.0, memory_gb=0.5, dice=0.9,
                   cases=(case(1.5, is_measured=True),)),
        EngineCost(engine="onnx int8", patch_ms=20.0, megabytes=0.5, memory_gb=0.4, dice=0.89,
                   dice_change=-0.01, cases=(case(60.0, is_measured=False),)),
        EngineCost(engine="tensorrt fp16", megabytes=1.0, dice=None, refused="No GPU."),
    ),
)  # fmt: skip


def test_the_table_says_what_was_measured_and_what_was_not(capsys, tmp_path):
    command._say(Console(as_json=False), FOUND, "run/bundle")
    command._write(Console(as_json=False), FOUND, tmp_path)
    said = " ".join(capsys.readouterr().out.split())
    assert "1.5 (3 windows)" in said
    assert "~60 (3 windows)" in said
    assert "0.8900 (-0.0100)" in said
    assert "tensorrt fp16 does not run here. No GPU." in said
    assert "medseg export run/bundle --to openvino" in said
    assert Costs.model_validate_json((tmp_path / "bench.json").read_text()) == FOUND
    svg = (tmp_path / "bench.svg").read_text()
    assert "onnx int8" in svg
    assert "tensorrt" not in svg


def test_an_unknown_bundle_is_one_sentence():
    done = CliRunner().invoke(app, ["bench", "nothing", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"]["code"] == "bundle-unknown"
