"""Which series goes to which bundle, and where its result goes: the first rule that fits."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.service.models import Models
from medseg.service.settings import Rule, ServiceSettings

IMAGES = ("CT", "MR", "PT")
"""Modalities of series that are segmented by themselves where there are no rules."""

DEFAULT_RULE = "default"


@dataclass(frozen=True)
class SeriesFacts:
    """What rules look at.

    Attributes:
        modality: DICOM's word.
        body_part: `BodyPartExamined`.
        description: `SeriesDescription`.
    """

    modality: str = ""
    body_part: str = ""
    description: str = ""


def facts_of(header: Mapping[str, Any]) -> SeriesFacts:
    """The facts of a series, from one of its headers in the DICOM JSON model."""
    return SeriesFacts(
        _text(header, "00080060"), _text(header, "00180015"), _text(header, "0008103E")
    )


def _text(header: Mapping[str, Any], tag: str) -> str:
    values = header.get(tag, {}).get("Value") or [""]
    return str(values[0] or "").strip()


def fits(rule: Rule, facts: SeriesFacts) -> bool:
    """Whether a rule speaks of such a series."""
    if rule.modality is not None and rule.modality.upper() != facts.modality.upper():
        return False
    if rule.body_part is not None and rule.body_part.upper() != facts.body_part.upper():
        return False
    if rule.description is None:
        return True
    return re.search(rule.description, facts.description, re.IGNORECASE) is not None


def rules_of(settings: ServiceSettings, models: Models) -> tuple[Rule, ...]:
    """The rules that were set; without any, images of its kind go to the first model."""
    if settings.rules:
        return settings.rules
    model = models.get()
    wanted = [model.modality] if model.modality in IMAGES else list(IMAGES)
    names = tuple(one.name for one in settings.destinations)
    return tuple(
        Rule(
            name=DEFAULT_RULE if len(wanted) == 1 else f"{DEFAULT_RULE}-{modality.lower()}",
            model=model.name,
            modality=modality,
            destinations=names,
        )
        for modality in wanted
    )


def first_fitting(rules: Sequence[Rule], facts: SeriesFacts) -> Rule | None:
    """The rule that counts; None if there is none."""
    return next((rule for rule in rules if fits(rule, facts)), None)
