"""What structures are called, read from whatever JSON a user has at hand; tolerances too."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.errors import EvaluationError, LabelError, MissingPath, UnreadableFile
from medseg.report.scores.structures import Region, Structures
from medseg.volume.labels import Label, Labels, make_labels

_INSIDE = ("plan.json", "bundle.json", "medseg-dataset.json", "dataset.json", "predictions.json")


IGNORED_KEY = "ignored_value"
"""What descriptions, plans and predictions call the value of voxels that nobody has judged."""


def read_labels(path: Path) -> Labels:
    """Read names and values of labels, regions left aside; see `read_structures`.

    Raises:
        MissingPath: If there is no such file.
        UnreadableFile: If it is not JSON.
        LabelError: If it names no labels, or contradicts itself.
    """
    content = _content(path)
    return _require_names(_labels_of(content), path).labels


def read_structures(path: Path) -> Structures:
    """Read names and values of labels, and of regions.

    Args:
        path: A JSON file, or a folder that holds one: `{"Anterior": 1}`, with a list of values for
            a region (`{"whole tumour": [1, 2, 4]}`), a data set's description (MSD's or nnU-Net's
            `dataset.json`, `medseg-dataset.json`), a plan or a bundle.

    Raises:
        MissingPath: If there is no such file.
        UnreadableFile: If it is not JSON.
        LabelError: If it names no labels, or contradicts itself.
    """
    return _require_names(structures_within(_content(path)), path)


def _require_names(structures: Structures, path: Path) -> Structures:
    if not structures.names:
        raise LabelError(
            "A label file names at least one structure.",
            received=f"none in {path}",
            cure='Write it as {"liver": 1, "spleen": 2}.',
        )
    return structures


def read_tolerances(path: Path) -> dict[str, float]:
    """Read the tolerances of single structures, in mm: `{"liver": 3.0, "vessel": 1.0}`.

    Raises:
        MissingPath: If there is no such file.
        UnreadableFile: If it is not JSON.
        EvaluationError: If it does not give a number to each name.
    """
    content = _content(path)
    numbers = content.values() if isinstance(content, dict) else [None]
    if not content or not all(type(number) in (int, float) for number in numbers):
        raise EvaluationError(
            "A file of tolerances gives each structure a distance in millimetres.",
            received=f"{str(content)[:60]} in {path}",
            cure='Write it as {"liver": 3.0, "vessel": 1.0}.',
        )
    return {str(name): float(number) for name, number in content.items()}


def _content(path: Path) -> Any:
    """What a JSON file holds, or that of a folder whose name is known."""
    file = path
    if path.is_dir():
        file = next((path / name for name in _INSIDE if (path / name).is_file()), path / _INSIDE[0])
    if not file.is_file():
        raise MissingPath(
            "Names and tolerances come from a JSON file.",
            received=f"nothing at {file}",
            cure='Write one, such as {"liver": 1, "spleen": 2}.',
        )
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UnreadableFile(
            "Names and tolerances come from a JSON file.", received=f"{file}: {error}"
        ) from error


def structures_within(content: Any) -> Structures:
    """What a JSON document names: the labels and regions of the outermost "labels" or "plan".

    Where it has "regions" beside its labels, networks find these: then they are all that is scored.

    Raises:
        LabelError: If values are no whole numbers, or values or names occur twice.
    """
    regions = _named_regions(_outermost(content).get("regions"))
    labels = _labels_of(content)
    return Structures((), regions, labels.ignored_value) if regions else labels


def _labels_of(content: Any) -> Structures:
    """The labels of a JSON document, with the regions that stand among them."""
    table = _outermost(content)
    found = _from_entry(table.get("labels", table))
    ignored = table.get(IGNORED_KEY)
    return replace(found, ignored_value=ignored) if type(ignored) is int else found


def _outermost(content: Any) -> dict[str, Any]:
    """The table that holds "labels"; of a bundle that of its plan."""
    if not isinstance(content, dict):
        return {}
    if "labels" not in content and "plan" in content:
        return _outermost(content["plan"])
    return content


def _named_regions(entry: Any) -> tuple[Region, ...]:
    """Regions from a list of {name, values}, or from {name: values}."""
    if isinstance(entry, list):
        entry = {x.get("name"): x.get("values") for x in entry if isinstance(x, dict)}
    if not isinstance(entry, dict):
        return ()
    return tuple(_region(str(name), values) for name, values in entry.items())


def _from_entry(entry: Any) -> Structures:
    """Structures from a list of {value, name}, from {name: value(s)}, or from {"value": name}."""
    if isinstance(entry, list):
        pairs = [(x.get("name"), x.get("value")) for x in entry if isinstance(x, dict)]
        return _checked(pairs)
    if isinstance(entry, dict) and all(str(key).isdigit() for key in entry):
        return _checked([(name, value) for value, name in entry.items()])
    if isinstance(entry, dict):
        return _checked(list(entry.items()))
    return Structures()


def _checked(pairs: list[tuple[Any, Any]]) -> Structures:
    labels, regions, ignored = [], [], None
    for name, value in pairs:
        if name == "ignore" and type(value) is int:
            ignored = value
            continue
        if isinstance(value, list) and value and isinstance(name, str):
            regions.append(_region(name, value))
            continue
        if isinstance(value, bool) or not str(value).isdigit() or not isinstance(name, str):
            raise LabelError(
                "A label is a name and a whole number.",
                received=f"{name!r}: {value!r}",
                cure='Write it as {"liver": 1, "spleen": 2}.',
            )
        if int(value) > 65535 or not 1 <= len(name) <= 64:
            raise LabelError(
                "A label has a value up to 65535 and a name of up to 64 letters.",
                received=f"{name!r}: {value!r}",
            )
        if int(value) > 0:
            labels.append(Label(value=int(value), name=name))
    return Structures(make_labels(labels), tuple(regions), ignored)


def _region(name: str, values: Any) -> Region:
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise LabelError(
            "A region is made of whole numbers.",
            received=f"{name!r}: {values!r}",
            cure='Write it as {"whole tumour": [1, 2, 4]}.',
        )
    return Region(name, tuple(values))


def read_record(folder: Path) -> dict[str, Any]:
    """What a prediction wrote beside its masks; empty where there is nothing that can be read."""
    try:
        content = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return {}
    return content if isinstance(content, dict) else {}
