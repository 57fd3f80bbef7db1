"""What the label values are called: read from whatever JSON a user has at hand."""

import json
from pathlib import Path
from typing import Any

from medseg.errors import LabelError, MissingPath, UnreadableFile
from medseg.volume.labels import Label, Labels, make_labels

_INSIDE = ("plan.json", "bundle.json", "medseg-dataset.json", "dataset.json", "predictions.json")


def read_labels(path: Path) -> Labels:
    """Read names and values of labels.

    Args:
        path: A JSON file, or a folder that holds one: `{"Anterior": 1}`, a data set's description
            (MSD's or nnU-Net's `dataset.json`, `medseg-dataset.json`), a plan or a bundle.

    Raises:
        MissingPath: If there is no such file.
        UnreadableFile: If it is not JSON.
        LabelError: If it names no labels, or contradicts itself.
    """
    file = path
    if path.is_dir():
        file = next((path / name for name in _INSIDE if (path / name).is_file()), path / _INSIDE[0])
    if not file.is_file():
        raise MissingPath(
            "Label names come from a JSON file.",
            received=f"nothing at {file}",
            cure='Write one, such as {"liver": 1, "spleen": 2}.',
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UnreadableFile(
            "Label names come from a JSON file.", received=f"{file}: {error}"
        ) from error
    labels = labels_within(content)
    if not labels:
        raise LabelError(
            "A label file names at least one structure.",
            received=f"none in {file}",
            cure='Write it as {"liver": 1, "spleen": 2}.',
        )
    return labels


def labels_within(content: Any) -> Labels:
    """The labels that a JSON document names: those of the outermost "labels" or "plan".

    Raises:
        LabelError: If values are no whole numbers, or values or names occur twice.
    """
    if not isinstance(content, dict):
        return ()
    for key in ("labels", "plan"):
        if key in content:
            inner = content[key]
            return labels_within(inner) if key == "plan" else _from_entry(inner)
    return _from_entry(content)


def _from_entry(entry: Any) -> Labels:
    """Labels from a list of {value, name}, from {name: value}, or from {"value": name}."""
    if isinstance(entry, list):
        pairs = [(x.get("name"), x.get("value")) for x in entry if isinstance(x, dict)]
        return _checked(pairs)
    if isinstance(entry, dict) and all(str(key).isdigit() for key in entry):
        return _checked([(name, value) for value, name in entry.items()])
    if isinstance(entry, dict):
        return _checked(list(entry.items()))
    return ()


def _checked(pairs: list[tuple[Any, Any]]) -> Labels:
    labels = []
    for name, value in pairs:
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
    return make_labels(labels)


def read_record(folder: Path) -> dict[str, Any]:
    """What a prediction wrote beside its masks; empty where there is nothing that can be read."""
    try:
        content = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return {}
    return content if isinstance(content, dict) else {}
