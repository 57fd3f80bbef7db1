"""Commands that plan and train have the same words for the same things."""

from typing import get_args

import pytest
import typer
from typer.testing import CliRunner

from medseg.cli.networks import networks
from medseg.cli.plan import plan
from medseg.cli.train import train
from medseg.cli.training_options import Config, Configs, Preset
from medseg.dataset.overview import CONFIGS


def test_plan_train_and_networks_agree():
    assert plan.__annotations__["preset"] == train.__annotations__["preset"] == Preset
    assert plan.__annotations__["config"] == networks.__annotations__["config"] == Config
    names = get_args(get_args(Config)[0])
    assert set(names) == {"auto", *CONFIGS}
    assert all(name in get_args(Configs)[1].help for name in names)


@pytest.mark.parametrize("words", [("--preset", "xxl"), ("--config", "4d")])
def test_other_words_are_refused(words):
    app = typer.Typer()

    @app.command()
    def command(config: Config = "auto", preset: Preset = None) -> None:
        typer.echo(f"{config} {preset}")

    assert CliRunner().invoke(app, ["--config", "3d_low", "--preset", "l"]).output == "3d_low l\n"
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 2
    assert words[1] in result.output
