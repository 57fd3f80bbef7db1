"""`medseg networks` from the outside."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from medseg.cli.networks import networks
from medseg.networks import names

MACHINE = ("--device", "cpu", "--memory", "2G", "--gflops", "100")


def medseg_networks(*words: str | Path) -> Result:
    app = typer.Typer()
    app.command()(networks)
    return CliRunner().invoke(app, [str(word) for word in words])


def test_every_network_is_listed_for_people():
    result = medseg_networks()
    assert result.exit_code == 0
    assert all(name in result.stdout for name in names())
    assert "31,030,658" in result.stdout.replace("\n", "")


def test_every_network_is_listed_for_machines():
    listed = json.loads(medseg_networks("--json").stdout)["networks"]
    assert [one["name"] for one in listed] == list(names())
    plain = listed[0]
    assert plain["paper"]["parameters"] == 31_196_399
    assert plain["paper"]["patch"] == [128, 128, 128]
    assert plain["paper"]["gmacs"] == pytest.approx(477.4, abs=0.1)
    assert plain["paper"]["memory_bytes"] > 2**32
    assert plain["planned"] is None


def test_each_is_planned_for_a_data_set(data):
    result = medseg_networks(data, *MACHINE, "--budget", "15m", "--json")
    assert result.exit_code == 0
    for one in json.loads(result.stdout)["networks"]:
        planned = one["planned"]
        assert planned["parameters"] > 0
        assert len(planned["patch"]) == 3
        assert planned["memory_bytes"] < 2.5 * 2**30
        assert planned["steps"] > 0
        assert planned["batch"] >= 2


def test_what_does_not_fit_is_said_and_the_rest_goes_on(data):
    words = ("--device", "cpu", "--memory", "60M", "--gflops", "100", "--json")
    listed = json.loads(medseg_networks(data, *words).stdout)["networks"]
    refused = {one["name"] for one in listed if "error" in one["planned"]}
    assert {"transunet", "medt"} <= refused
    assert "plain_unet" not in refused


def test_a_budget_that_is_none_is_refused():
    result = medseg_networks("--budget", "soon")
    assert result.exit_code == 2
