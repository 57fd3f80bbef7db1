"""Settings of the service."""

from pathlib import Path
from typing import Any

import pytest

from medseg.errors import InvalidSettings, MissingPath, UnreadableFile
from medseg.service.settings import KeyAuth, is_loopback, read_settings

GIVEN: dict[str, Any] = {"data": "held", "models": ["hippocampus-mr"]}

WHOLE = """
host = "0.0.0.0"
[auth]
kind = "keys"
[limits]
attempts = 5
[dimse]
port = 104
[[dimse.peers]]
ae_title = "MR1"
address = "10.0.0.7"
[[destinations]]
kind = "stow"
name = "pacs"
url = "https://pacs/dicom-web"
[[destinations]]
kind = "c-store"
name = "viewer"
host = "10.0.0.8"
port = 104
ae_title = "VIEWER"
[[rules]]
name = "brain"
model = "hippocampus-mr"
modality = "MR"
description = "t1"
destinations = ["pacs", "viewer"]
"""


def test_what_was_typed_wins(tmp_path: Path) -> None:
    path = tmp_path / "service.toml"
    path.write_text(WHOLE)
    settings = read_settings(path, {**GIVEN, "host": "127.0.0.1", "dimse": {"port": 105}})
    assert settings.dimse is not None
    assert (settings.dimse.port, len(settings.dimse.peers)) == (105, 1), "peers stay"
    assert settings.host == "127.0.0.1"
    assert settings.auth == KeyAuth()
    assert settings.limits.attempts == 5
    assert settings.rules[0].destinations == ("pacs", "viewer")
    assert settings.url.endswith("held/medseg.sqlite")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"host": "0.0.0.0"}, "loopback only, not on 0.0.0.0"),
        ({"port": 70_000}, "port: Input should be less than"),
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"models": []}, "models: "),
        ({"rules": [{"name": "a", "model": "other"}]}, "the model other, not in models"),
        ({"rules": [{"name": "a", "model": "hippocampus-mr", "description": "("}]}, "no regular"),
        (
            {"rules": [{"name": "a", "model": "hippocampus-mr", "destinations": ["pacs"]}]},
            "no such destination: .'pacs'",
        ),
        ({"rules": [{"name": "a", "model": "hippocampus-mr"}] * 2}, "two rules have one name"),
        ({"destinations": [{"kind": "stow", "name": "a", "url": "https://x"}] * 2}, "one name"),
        ({"drift": {"other": "/watched"}}, "models that are not in models: .'other'"),
        ({"dimse": {"host": "0.0.0.0"}}, "C-STORE listens on loopback only"),
        ({"dimse": {"ae_title": "seventeen letters"}}, "ae_title: String should match"),
        ({"dimse": {"peers": [{"ae_title": "A", "address": "nowhere"}]}}, "does not appear to be"),
    ],
)
def test_settings_that_contradict_each_other(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        read_settings(None, {**GIVEN, **change})


def test_files_that_are_no_settings(tmp_path: Path) -> None:
    with pytest.raises(MissingPath, match="nothing at"):
        read_settings(tmp_path / "none.toml", GIVEN)
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(UnreadableFile, match="a TOML file"):
        read_settings(tmp_path / "bad.toml", GIVEN)


@pytest.mark.parametrize(
    ("host", "there"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("me", False)],
)
def test_loopback(host: str, there: bool) -> None:
    assert is_loopback(host) is there
