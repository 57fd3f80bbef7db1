"""A page of one predicted case, to be filed: structures, volumes, quality, slices, provenance."""

import base64
from pathlib import Path
from typing import Any

from medseg.files import write_text
from medseg.report.html import Tile, counted, key_of, render, shown, some
from medseg.report.pages.case_record import PredictedCase, read_predicted_case
from medseg.report.plots.montage import slices_through
from medseg.report.scores.volume_interval import (
    VolumeErrors,
    VolumeInterval,
    held_out_dice,
    interval_from_errors,
    range_from_dice,
    read_volume_errors,
)
from medseg.volume.labels import Label, colour_of

_SLICES = 8
_STILL_PIXELS = (720, 560)
_LISTED = 3


def write_case_report(
    folder: Path,
    case: str,
    path: Path,
    *,
    evaluation: Path | None = None,
    model: Path | None = None,
    shown_as: str = "",
) -> Path:
    """Write the page of one case of a prediction.

    The page names the case as it is called in `predictions.json`, or as `shown_as`; paths of the
    files and fields of DICOM headers are not on it.

    Args:
        folder: Where `medseg predict` wrote masks and `predictions.json`.
        case: Name of the case.
        path: Where the page shall be.
        evaluation: An evaluation of the same model, from whose errors of volumes intervals are
            made; None takes what the model's held-out Dice allows.
        model: Folder of the bundle, if it is not in the box.
        shown_as: Another name for the page, such as a pseudonym.

    Returns:
        `path`.

    Raises:
        MissingPath: If the record, the mask or the evaluation is not there.
        UnreadableFile: If one of them cannot be read.
        EvaluationError: If the record holds no such case.
        CannotWrite: If the page cannot be written.
    """
    found = read_predicted_case(folder, case, model=model)
    errors = read_volume_errors(evaluation, without=case) if evaluation is not None else None
    write_text(path, render("case.html.j2", _content(found, errors, shown_as or case)))
    return path


def _content(found: PredictedCase, errors: VolumeErrors | None, name: str) -> dict[str, Any]:
    flags = _flags(found)
    rows = [_row(found, label, errors) for label in found.labels]
    intervals = [row["interval"] for row in rows if row["interval"]]
    slices = slices_through(found.image, found.mask, _SLICES) if found.mask else []
    return {
        "title": f"Case {name}",
        "name": name,
        "headline": f"{name}: {_headline(found, flags)}",
        "lead": _lead(found),
        "tiles": _tiles(found, flags) if found.mask else [],
        "flags": flags,
        "rows": rows if found.mask else [],
        "interval_sources": list(dict.fromkeys(one.source for one in intervals)),
        "without_interval": [r["name"] for r in rows if r["interval"] is None and r["found"]],
        "slices": slices,
        "labels": [one for one in key_of(found.labels) if one[0] in _volumes(found, above=0.0)],
        "still": _still(found),
        "facts": _facts(found),
    }


def _volumes(found: PredictedCase, *, above: float = -1.0) -> dict[str, float]:
    volumes = found.outcome.get("volumes_ml", {})
    return {str(name): float(ml) for name, ml in volumes.items() if ml > above}


def _flags(found: PredictedCase) -> list[str]:
    quality = found.outcome.get("quality") or {}
    return [str(flag.get("what", "")) for flag in quality.get("flags", [])]


def _headline(found: PredictedCase, flags: list[str]) -> str:
    if found.mask is None:
        return "no mask was made"
    there = len(_volumes(found, above=0.0))
    if not there:
        return "nothing was found"
    what = f"{there} of {counted(len(found.labels), 'structure')} found"
    return (
        f"{what}, {counted(len(flags), 'flag')} to check" if flags else f"{what}, nothing flagged"
    )


def _lead(found: PredictedCase) -> str:
    if found.mask is None:
        error = found.outcome.get("error") or {}
        return str(error.get("message", "The record does not say why."))
    volumes = _volumes(found, above=0.0)
    listed = ", ".join(f"{name} {_ml(ml)} ml" for name, ml in list(volumes.items())[:_LISTED])
    more = f" and {len(volumes) - _LISTED} more" if len(volumes) > _LISTED else ""
    absent = [label.name for label in found.labels if label.name not in volumes]
    lacking = f" Not found: {some(absent, 'structure')}." if absent else ""
    return f"{listed}{more}.{lacking}" if listed else f"Not found: {some(absent, 'structure')}."


def _tiles(found: PredictedCase, flags: list[str]) -> list[Tile]:
    volumes = _volumes(found, above=0.0)
    quality = found.outcome.get("quality") or {}
    score = quality.get("score")
    total = Tile("Volume", _ml(sum(volumes.values())), "ml", counted(len(volumes), "structure"))
    first = flags[0] if flags else "nothing stands out"
    tiles = [
        Tile("Quality estimate", shown(score, 2), "", "Dice that the model itself expects"),
        total,
        Tile("Flags", str(len(flags)), "", first, bad=bool(flags)),
    ]
    foretold = quality.get("predicted_dice")
    if foretold is not None:
        tiles.insert(1, Tile("Foretold Dice", shown(foretold, 2), "", "by a fitted model"))
    expected = {name: dice for name, dice in quality.get("expected_dice", {}).items() if dice}
    if len(expected) > 1:
        low = min(expected, key=expected.__getitem__)
        tiles.insert(1, Tile("Least sure structure", shown(expected[low], 2), "", low))
    return tiles


def _row(found: PredictedCase, label: Label, errors: VolumeErrors | None) -> dict[str, Any]:
    volume = _volumes(found).get(label.name, 0.0)
    quality = found.outcome.get("quality") or {}
    known = found.bundle.get("volume_ranges_ml", {}).get(label.name)
    interval = _interval(found, label.name, volume, errors)
    flagged = {flag.get("structure") for flag in quality.get("flags", [])}
    return {
        "name": label.name,
        "colour": colour_of(found.labels, label),
        "found": volume > 0,
        "volume": _ml(volume) if volume > 0 else "not found",
        "interval": interval,
        "range": f"{_ml(interval.low_ml)} to {_ml(interval.high_ml)}" if interval else "\u2013",
        "usual": f"{_ml(known[0])} to {_ml(known[1])}" if known else "\u2013",
        "outside": bool(known) and not known[0] <= volume <= known[1],
        "expected": shown(quality.get("expected_dice", {}).get(label.name), 2),
        "flagged": label.name in flagged,
    }


def _interval(
    found: PredictedCase, name: str, volume_ml: float, errors: VolumeErrors | None
) -> VolumeInterval | None:
    """From an evaluation if one was given, else from the model's held-out Dice, else none."""
    if volume_ml <= 0:
        return None
    if errors is not None:
        return interval_from_errors(volume_ml, errors.ratios.get(name, ()))
    dice = held_out_dice(found.bundle, name)
    return None if dice is None else range_from_dice(volume_ml, dice)


def _still(found: PredictedCase) -> str:
    """The surfaces in space as a data address; "" for a flat or an empty mask."""
    mask = found.mask
    if mask is None or mask.geometry.is_2d or not mask.array.any():
        return ""
    from medseg.report.scene.mesh import decimated, surfaces_of
    from medseg.report.scene.still import render_png

    surfaces = decimated(surfaces_of(mask))
    colours = {label.value: colour_of(found.labels, label) for label in found.labels}
    colours |= {x.value: colour_of(mask.labels, x) for x in mask.labels if x.value not in colours}
    picture = render_png(surfaces, _STILL_PIXELS, colours=colours)
    return f"data:image/png;base64,{base64.b64encode(picture).decode('ascii')}"


def _facts(found: PredictedCase) -> list[tuple[str, str]]:
    record, origin = found.record, found.bundle.get("provenance", {})
    used = record.get("bundle") or {}
    facts = [
        ("Model", str(used.get("name", "not recorded"))),
        ("SHA-256 of its weights", str(used.get("weights_sha256") or "not recorded")),
    ]
    if origin:
        facts.append(
            ("Trained", f"{origin.get('created', '')[:10]}, on "
             f"{counted(len(origin.get('training_cases', [])), 'case')} of "
             f"{origin.get('data_name', '')}")
        )  # fmt: skip
    else:
        facts.append(("Trained", "the model\u2019s description was not found beside its name"))
    facts += [
        ("Predicted by", f"medseg {record.get('medseg_version', '')}"),
        ("Engine", f"{record.get('engine', '')}, precision {record.get('precision', '')}, "
         f"{'with' if record.get('mirrors') else 'without'} mirrors"),
    ]  # fmt: skip
    if found.mask is not None and found.written is not None:
        facts += [
            ("Mask written", found.written.strftime("%Y-%m-%d %H:%M %Z")),
            ("SHA-256 of the mask", found.mask_sha256),
            ("Grid of the mask", _grid(found)),
        ]
    return facts


def _grid(found: PredictedCase) -> str:
    if found.mask is None:
        return ""
    geometry = found.mask.geometry
    voxels = " x ".join(map(str, geometry.grid_size))
    return f"{voxels} voxels of {' x '.join(f'{mm:.3g}' for mm in geometry.spacing_mm)} mm"


def _ml(volume_ml: float) -> str:
    """Three digits that mean something, and never an exponent."""
    if volume_ml >= 100:
        return f"{volume_ml:.0f}"
    return f"{volume_ml:.1f}" if volume_ml >= 10 else f"{volume_ml:.2f}"
