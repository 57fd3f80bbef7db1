"""`medseg info`: what a file, a DICOM folder, a data set or a bundle is."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg.cli.console import Console, reporting
from medseg.cli.structure_rows import structure_rows

if TYPE_CHECKING:
    from medseg.dataset.description import DatasetDescription
    from medseg.volume.dicom import Series
    from medseg.volume.geometry import Geometry
    from medseg.volume.volume import Volume

_FEW_VALUES = 64
"""Integer images with at most so many values are shown as label maps too."""


def info(
    path: Annotated[
        Path, typer.Argument(help="Image, DICOM folder, file or zip, data set, bundle or its name.")
    ],
    allow_gaps: Annotated[
        bool,
        typer.Option("--allow-gaps", help="Show DICOM series as if missing slices were filled."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")] = False,
) -> None:
    """Say what a file, a DICOM folder, a data set or a bundle is."""
    with reporting(as_json=as_json) as console:
        console.result(_describe(path, console, allow_gaps=allow_gaps))


def _describe(path: Path, console: Console, *, allow_gaps: bool) -> dict[str, Any]:
    bundle = _bundle_file(path)
    if bundle is not None:
        return _show_bundle(bundle, console)
    if path.name == "medseg-dataset.json" or (path / "medseg-dataset.json").is_file():
        return _show_dataset(path, console)
    from medseg.errors import DatasetError, MissingPath
    from medseg.volume.dicom_rtstruct_read import is_structure_set
    from medseg.volume.dicom_seg_frames import is_segmentation
    from medseg.volume.dicom_zip import is_zip
    from medseg.volume.io import is_dicom_file, is_image_file

    if not path.exists():
        raise MissingPath(
            "A file, a folder or a built-in bundle must have this name.",
            received=str(path),
            cure="Check the path.",
        )
    if path.is_file() and is_zip(path):
        return _show_zip(path, console, allow_gaps=allow_gaps)
    if path.is_file() and is_segmentation(path):
        return _show_segmentation(path, console)
    if path.is_file() and is_structure_set(path):
        return _show_structures(path, console)
    if path.is_file() and (is_image_file(path) or not is_dicom_file(path)):
        return _show_image(path, console)
    from medseg.volume.dicom import find_series, no_images

    series = find_series(path)
    if series:
        return _show_series(path, series, console, allow_gaps=allow_gaps)
    if path.is_file():
        raise no_images(path)
    try:
        return _show_dataset(path, console)
    except DatasetError:
        if any(map(is_dicom_file, path.rglob("*"))):
            raise no_images(path) from None
        raise


def _bundle_file(path: Path) -> Path | None:
    """The description of a bundle at this path, or in the box under this name."""
    import medseg

    built_in = Path(medseg.__file__).parent / "models" / path.name
    for folder in (path, *([built_in] if len(path.parts) == 1 and not path.exists() else [])):
        file = folder if folder.name == "bundle.json" else folder / "bundle.json"
        if file.is_file():
            return file
    return None


def _show_bundle(file: Path, console: Console) -> dict[str, Any]:
    from medseg.errors import CorruptBundle

    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        plan, made = facts["plan"], facts["provenance"]
        rows = [
            ("kind", "bundle"),
            ("data set", f"{plan['dataset']} ({made['data_licence'] or 'licence not stated'})"),
            ("channels", ", ".join(channel["name"] for channel in plan["channels"])),
            *structure_rows(plan),
            *(row for one in (facts, *facts.get("further", ())) for row in _stage_rows(one)),
            *(("afterwards", _step(one)) for one in facts.get("postprocessing", ())),
            *(("data version", one) for one in [made.get("data_version")] if one),
            ("made", f"{made['created']} by medseg {made['medseg_version']}"),
            ("training", f"{made['steps']} steps, {made['seconds']:.0f} s, seed {made['seed']}"),
        ]
        engines = [
            json.loads(path.read_text(encoding="utf-8"))
            for path in sorted(file.parent.glob("*/*/engine.json"))
        ]
        rows += [("engine", _engine(one)) for one in engines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptBundle(
            f"{file} must describe a bundle.",
            received=f"{type(error).__name__}: {error}",
            cure="Copy the bundle again.",
        ) from error
    console.table(str(file.parent), ("", ""), rows)
    return {"kind": "bundle", "path": str(file.parent), **facts, "engines": engines}


def _engine(record: dict[str, Any]) -> str:
    """An exported engine: its name, its time beside torch's when it was made, and its Dice."""
    speed = f"{record['patch_ms']:.3g} ms a patch, torch {record['torch_ms']:.3g} ms"
    accuracy = record["accuracy"]
    dice = f", Dice {accuracy['dice']['change']:+.4f}" if accuracy else ""
    return f"{record['kind']} {record['precision']}: {speed}{dice}"


def _stage_rows(one: dict[str, Any]) -> list[tuple[str, str]]:
    """The plan of a configuration, and of a cascade also that of its first stage."""
    before = one.get("first_stage")
    rows = _plan_rows(before["plan"]) if before else []
    return _plan_rows(one["plan"]) + [(f"first stage, {what}", how) for what, how in rows]


def _plan_rows(plan: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("plan", f"{plan['config']}, {plan['orientation']}, {_mm(plan['spacing_mm'])}"),
        ("patch", _times(plan["patch_size"])),
    ]


def _step(step: dict[str, Any]) -> str:
    """A step of post-processing: its kind, structure and volume."""
    volume = f", {step['volume_ml']:.3g} ml" if "volume_ml" in step else ""
    return f"{step['kind'].replace('_', ' ')} of {step['structure']}{volume}"


def _show_dataset(path: Path, console: Console) -> dict[str, Any]:
    from medseg.dataset.importers import open_dataset

    description: DatasetDescription = open_dataset(path)
    patients = {case.patient for case in description.cases if case.patient}
    rows = [
        ("kind", "data set"),
        ("name", description.name),
        ("cases", f"{len(description.cases)} with label, {len(description.unlabelled)} without"),
        ("patients", str(len(patients)) if patients else "not stated"),
        ("channels", ", ".join(f"{c.name} {c.modality}".strip() for c in description.channels)),
        *structure_rows(description.model_dump(mode="json")),
        ("licence", description.licence or "not stated"),
    ]
    console.table(str(path), ("", ""), rows)
    return {"kind": "dataset", "path": str(path), **{k: v for k, v in rows if k != "kind"}}


def _show_segmentation(path: Path, console: Console) -> dict[str, Any]:
    from medseg.volume.dicom_seg import read_segmentation

    label_map = read_segmentation(path)
    facts = _place_facts(label_map.geometry)
    volumes = label_map.volumes_ml()
    console.table(str(path), ("", ""), [("kind", "DICOM-SEG"), *_place_rows(label_map.geometry)])
    console.table(
        "Segments",
        ("value", "name", "ml"),
        [(str(x.value), x.name, f"{volumes[x.name]:.3f}") for x in label_map.labels],
    )
    return {"kind": "dicom-seg", "path": str(path), **facts, "volumes_ml": volumes}


def _show_structures(path: Path, console: Console) -> dict[str, Any]:
    from medseg.volume.dicom_rtstruct_read import read_structure_set

    found = read_structure_set(path)
    names = [one.label.name for one in found.structures]
    counts = [len(one.contours) for one in found.structures]
    console.table(
        str(path),
        ("structure", "contours"),
        [(name, str(count)) for name, count in zip(names, counts, strict=True)],
    )
    structures = [
        {"name": name, "contours": count} for name, count in zip(names, counts, strict=True)
    ]
    return {
        "kind": "rtstruct",
        "path": str(path),
        "series": found.series_uid,
        "structures": structures,
    }


def _show_image(path: Path, console: Console) -> dict[str, Any]:
    from medseg.volume.io import read_volume

    volume = read_volume(path)
    statistics = [_statistics(volume, n) for n in range(len(volume.channel_names))]
    rows = [
        ("kind", f"image ({volume.source.format}), {volume.array.dtype}"),
        *_place_rows(volume.geometry),
        *[(f"channel {one['name']}", _statistics_text(one)) for one in statistics],
        *_value_rows(volume),
    ]
    console.table(str(path), ("", ""), rows)
    return {
        "kind": "image",
        "path": str(path),
        "format": volume.source.format,
        "dtype": str(volume.array.dtype),
        **_place_facts(volume.geometry),
        "channels": statistics,
    }


def _show_zip(path: Path, console: Console, *, allow_gaps: bool) -> dict[str, Any]:
    from medseg.volume.dicom import find_series, no_images
    from medseg.volume.dicom_zip import as_folder

    with as_folder(path) as folder:
        series = find_series(folder)
        if not series:
            raise no_images(path)
        return _show_series(path, series, console, allow_gaps=allow_gaps)


def _show_series(
    path: Path, series: "Sequence[Series]", console: Console, *, allow_gaps: bool
) -> dict[str, Any]:
    from dataclasses import replace

    from medseg.errors import MedsegError
    from medseg.volume.dicom import inspect_series

    found, rows = [], []
    for one in (replace(each, allow_gaps=allow_gaps) for each in series):
        facts: dict[str, Any] = {
            "uid": one.uid,
            "modality": one.modality,
            "description": one.description,
            "images": len(one.slices),
            "localizer": one.is_localizer,
        }
        try:
            geometry, remarks = inspect_series(one)
            facts |= _place_facts(geometry)
            facts["remarks"] = [remark.model_dump() for remark in remarks]
            sentences = [f"{_times(geometry.grid_size)}, {_mm(geometry.spacing_mm)}"]
            outcome = ". ".join([*sentences, *(remark.text for remark in remarks)])
        except MedsegError as error:
            facts["refused"] = {"code": error.code, "message": str(error)}
            outcome = f"refused ({error.code}): {error.received or error.rule}"
        found.append(facts)
        name = one.description or one.number
        rows.append((one.modality, name, f"...{one.uid[-8:]}", str(len(one.slices)), outcome))
    console.table(str(path), ("modality", "series", "UID", "images", "volume"), rows)
    return {"kind": "dicom", "path": str(path), "series": found}


def _place_facts(geometry: "Geometry") -> dict[str, Any]:
    return {
        "grid_size": geometry.grid_size,
        "spacing_mm": geometry.spacing_mm,
        "orientation": geometry.orientation,
        "affine": geometry.affine.tolist(),
    }


def _place_rows(geometry: "Geometry") -> list[tuple[str, str]]:
    origin = ", ".join(f"{x:.4g}" for x in geometry.origin_mm)
    angle = "" if geometry.is_orthogonal else ", axes not at right angles"
    return [
        ("grid", f"{_times(geometry.grid_size)} voxels of {_mm(geometry.spacing_mm)}"),
        ("orientation", f"{geometry.orientation}{angle}"),
        ("origin", f"{origin} mm (RAS)"),
    ]


def _statistics(volume: "Volume", channel: int) -> dict[str, Any]:
    import numpy as np

    values = volume.array[channel]
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    known = finite.size > 0
    return {
        "name": volume.channel_names[channel],
        "minimum": float(finite.min()) if known else None,
        "mean": float(finite.mean(dtype=np.float64)) if known else None,
        "maximum": float(finite.max()) if known else None,
        "not_finite": int(values.size - finite.size),
    }


def _statistics_text(one: dict[str, Any]) -> str:
    if one["mean"] is None:
        return "no finite value"
    text = f"{one['minimum']:.5g} to {one['maximum']:.5g}, mean {one['mean']:.5g}"
    return text + (f", {one['not_finite']} not finite" if one["not_finite"] else "")


def _value_rows(volume: "Volume") -> list[tuple[str, str]]:
    import numpy as np

    if volume.array.dtype.kind not in "iu" or len(volume.channel_names) > 1:
        return []
    values, counts = np.unique(volume.array, return_counts=True)
    if len(values) > _FEW_VALUES:
        return []
    ml = volume.geometry.voxel_volume_ml
    shown = [f"{v}: {n} voxels, {n * ml:.3g} ml" for v, n in zip(values, counts, strict=True)]
    return [("values" if n == 0 else "", line) for n, line in enumerate(shown)]


def _times(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))


def _mm(spacing_mm: Sequence[float]) -> str:
    return " x ".join(f"{x:.4g}" for x in spacing_mm) + " mm"
