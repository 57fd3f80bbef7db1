"""Labels, regions and ignored voxels as rows of a table."""

from collections.abc import Mapping
from typing import Any


def structure_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What masks hold, for people.

    Args:
        facts: A description of a data set or a plan, as JSON holds it.
    """
    rows = [("labels", ", ".join(f"{one['value']} {one['name']}" for one in facts["labels"]))]
    regions = facts.get("regions") or ()
    if regions:
        unions = (f"{one['name']} = {', '.join(map(str, one['values']))}" for one in regions)
        rows.append(("regions", "; ".join(unions)))
    if facts.get("ignored_value") is not None:
        rows.append(("ignored", f"voxels of value {facts['ignored_value']}"))
    return rows
