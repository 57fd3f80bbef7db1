"""The page on the service: every setting with its default, and examples that are allowed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from medseg.service.settings import (
    Dimse,
    KeyAuth,
    Limits,
    NoAuth,
    OidcAuth,
    Peer,
    Retention,
    Rule,
    ServiceSettings,
    StoreDestination,
    StowDestination,
    Tls,
    read_settings,
)

PAGE = (Path(__file__).resolve().parents[2] / "docs/how-to/service.md").read_text(encoding="utf-8")
TABLES: dict[str, tuple[type[BaseModel], ...]] = {
    "": (ServiceSettings,),
    "tls.": (Tls,),
    "auth.": (NoAuth, KeyAuth, OidcAuth),
    "limits.": (Limits,),
    "retention.": (Retention,),
    "dimse.": (Dimse,),
    "dimse.peers.": (Peer,),
    "destinations.": (StowDestination, StoreDestination),
    "rules.": (Rule,),
}
OWN_ROWS = {"tls", "auth", "limits", "retention", "dimse"}
"""Settings of which the page has a row for each part."""

OTHERWISE = {"data": '`"medseg-data"`', "destinations.kind": "must be given"}
"""What the command gives, and what chooses between kinds."""


def word_of(value: Any) -> str:
    """A default as the page writes it."""
    if value is None:
        return "none"
    if isinstance(value, dict):
        return "`{" + ", ".join(f'{key} = "{one}"' for key, one in value.items()) + "}`"
    return f"`{json.dumps(value)}`"


def expected() -> dict[str, str]:
    rows: dict[str, str] = {}
    for prefix, models in TABLES.items():
        for model in models:
            for name, field in model.model_fields.items():
                if prefix or name not in OWN_ROWS:
                    word = "must be given" if field.is_required() else word_of(field.default)
                    rows.setdefault(prefix + name, OTHERWISE.get(prefix + name, word))
    return rows


def test_every_setting_has_its_row_and_default() -> None:
    section = PAGE.split("## All settings")[1].split("\n## ")[0]
    told = dict(re.findall(r"^\| `([a-z_.]+)` \| (.+?) \|", section, flags=re.MULTILINE))
    assert told == expected()


@pytest.mark.parametrize(
    "text", re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
)
def test_examples_are_allowed(text: str, tmp_path: Path) -> None:
    file = tmp_path / "medseg.toml"
    file.write_text(text, encoding="utf-8")
    assert read_settings(file, {}).models[0] == "hippocampus-mr"
