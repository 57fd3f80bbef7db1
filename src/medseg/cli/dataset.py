"""`medseg dataset`: a raw folder becomes a described data set; every fault is listed."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medseg.cli.console import EXIT_FAILED, Console, reporting
from medseg.cli.structure_rows import structure_rows

if TYPE_CHECKING:
    from medseg.dataset.checks import Fault
    from medseg.dataset.description import DatasetDescription
    from medseg.dataset.folds import Folds

app = typer.Typer(
    help="Import, check, split, fetch and export data sets.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Dataset = Annotated[
    Path, typer.Argument(help="Folder of a described data set, or of any layout that is known.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]


@app.command("import")
def import_dataset(
    raw: Annotated[
        Path,
        typer.Argument(
            help="Folder: MSD, nnU-Net, BIDS, plain, or DICOM series with SEG or RTSTRUCT."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the description.")],
    structure: Annotated[
        list[str] | None,
        typer.Option(help="Take this structure of DICOM labels only; may be repeated."),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="RAW holds labels to take into the data set at OUT.")
    ] = False,
    images: Annotated[
        Path | None,
        typer.Option(help="With --update: images of cases that may be new; they are copied."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Describe a raw folder in one file; images stay where they are."""
    if images is not None and not update:
        raise typer.BadParameter("--images are given with --update.")
    with reporting(as_json=as_json) as console:
        if update:
            _update(console, raw, out, images)
            return
        from medseg.dataset.description import save_description
        from medseg.dataset.dicom_pairs import import_dataset as imported

        description = imported(
            raw, out, structures=tuple(structure or ()), progress=console.progress
        )
        path = save_description(description, out)
        _show(console, description)
        console.say(f"Written: {path}\nNext: medseg dataset check {out}")
        console.result({**_facts(description), "written": str(path)})


def _update(console: Console, labels: Path, data: Path, images: Path | None) -> None:
    """Take corrected labels into a described data set, and say what became of each."""
    from medseg.dataset.update import update_labels

    pictures = {}
    if images is not None:
        from medseg.inference.inputs import find_inputs

        found = find_inputs([images], progress=console.progress)
        pictures = {case.id: case.images for case in found}
    done = update_labels(data, labels, images=pictures, progress=console.progress)
    groups = {
        "new cases": done.added,
        "labelled for the first time": done.labelled,
        "relabelled": done.relabelled,
        "as they were": done.unchanged,
    }
    for what, cases in groups.items():
        if cases:
            console.say(f"{len(cases)} {what}: {', '.join(cases[:8])}{', ...' * (len(cases) > 8)}")
    console.say(f"{data}: {len(done.description.cases)} cases with a label.")
    console.result(
        {
            "data": str(data), "cases": len(done.description.cases), "added": done.added,
            "labelled": done.labelled, "relabelled": done.relabelled, "unchanged": done.unchanged,
        }
    )  # fmt: skip


@app.command("check")
def check(
    dataset: _Dataset,
    skip_faulty: Annotated[
        bool, typer.Option(help="Go on without the cases that have an error (needs --out).")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the description without the faulty cases.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Read every file and list all faults, each with its cure."""
    if skip_faulty and out is None:
        raise typer.BadParameter("--skip-faulty writes a description: name its folder with --out.")
    with reporting(as_json=as_json) as console:
        from medseg.dataset.checks import check_dataset, without_faulty
        from medseg.dataset.description import save_description
        from medseg.dataset.importers import open_dataset
        from medseg.errors import FaultyDataset

        description = open_dataset(dataset, progress=console.progress)
        root = dataset if dataset.is_dir() else None
        faults = check_dataset(description, root, progress=console.progress)
        errors = [fault for fault in faults if fault.severity == "error"]
        _show_faults(console, description, faults)
        written = None
        if skip_faulty and out is not None:
            written = save_description(without_faulty(description, faults), out)
            console.say(f"Written without faulty cases: {written}")
        elif errors:
            console.say("Go on without the faulty cases: --skip-faulty --out DIR")
        console.result(
            {
                "name": description.name,
                "cases": len(description.cases),
                "errors": len(errors),
                "warnings": len(faults) - len(errors),
                "faults": [fault.model_dump() for fault in faults],
                "written": str(written) if written else None,
            }
        )
        if errors and not skip_faulty:
            console.complain(FaultyDataset.code, f"{description.name} has {_amounts(faults)}.")
            raise typer.Exit(EXIT_FAILED)


@app.command("split")
def split(
    dataset: _Dataset,
    out: Annotated[
        Path | None,
        typer.Option(help="File for the folds; where DATASET is described, folds.json beside it."),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Number of folds.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    as_json: _Json = False,
) -> None:
    """Share the cases out into folds by patient, with structures of all sizes in each."""
    out = out or _folds_beside(dataset)
    with reporting(as_json=as_json) as console:
        from medseg.dataset.folds import foreground_ml, make_folds, save_folds
        from medseg.dataset.importers import open_dataset

        description = open_dataset(dataset, progress=console.progress)
        volumes_ml = foreground_ml(description, progress=console.progress)
        made = make_folds(description, count=folds, seed=seed, strata=volumes_ml)
        save_folds(made, out)
        _show_folds(console, description, made, volumes_ml)
        console.say(f"Written: {out}")
        console.result({**made.model_dump(), "written": str(out)})


def _folds_beside(dataset: Path) -> Path:
    """`folds.json` beside the description, so that each data set has its own."""
    home = dataset if dataset.is_dir() else dataset.parent
    described = (home / "medseg-dataset.json").is_file()
    if dataset.exists() and not (described and os.access(home, os.W_OK)):
        raise typer.BadParameter(
            "Name the file for the folds with --out: "
            f"{home} {'cannot be written' if described else 'is not described'}."
        )
    return home / "folds.json"


@app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="Name of a public data set: hippocampus.")],
    out: Annotated[Path, typer.Option(help="Folder that its own folder is put in.")] = Path("data"),
    url: Annotated[
        str | None, typer.Option(help="Another place of the same archive, such as a mirror.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Download a public data set from its home and check that it came whole."""
    with reporting(as_json=as_json) as console:
        from medseg.dataset.fetch import PUBLIC
        from medseg.dataset.fetch import fetch as fetch_dataset

        folder = fetch_dataset(name, out, url=url, progress=console.progress)
        console.say(f"{folder} (licence: {PUBLIC[name].licence})")
        console.say(f"Next: medseg train {folder} --out run --budget 15m")
        console.result({"folder": str(folder), "licence": PUBLIC[name].licence})


@app.command("export")
def export(
    dataset: _Dataset,
    out: Annotated[
        Path, typer.Option(help="Folder that DatasetXXX_Name is put in, such as nnUNet_raw.")
    ],
    layout: Annotated[Literal["nnunet"], typer.Option("--format", help="Whose layout.")] = "nnunet",
    number: Annotated[
        int, typer.Option("--id", min=1, max=999, help="The data set's number, XXX.")
    ] = 501,
    folds: Annotated[
        Path | None,
        typer.Option(help="Folds for splits_final.json; by default folds.json of DATASET."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Lay out a data set as nnU-Net reads it; files that fit already are linked."""
    with reporting(as_json=as_json) as console:
        from medseg.dataset.folds import load_folds
        from medseg.dataset.importers import open_dataset
        from medseg.dataset.nnunet_raw import SPLITS, export_nnunet

        description = open_dataset(dataset, progress=console.progress)
        beside = (dataset if dataset.is_dir() else dataset.parent) / "folds.json"
        chosen = folds or (beside if beside.is_file() else None)
        made = None if chosen is None else load_folds(chosen, description)
        done = export_nnunet(description, out, number=number, folds=made, progress=console.progress)
        console.say(f"{done.folder}: {done.linked} files linked, {done.written} written")
        moved = {old: new for old, new in done.values.items() if old != new}
        if moved:
            changes = ", ".join(f"{old} becomes {new}" for old, new in moved.items())
            console.say(f"Label values without a gap, as {layout} wants them: {changes}")
        if made is not None:
            console.say(f"Folds: put {SPLITS} into nnUNet_preprocessed/{done.folder.name}/")
        console.result(
            {
                "folder": str(done.folder),
                "linked": done.linked,
                "written": done.written,
                "values": {str(old): new for old, new in done.values.items()},
                "folds": made.count if made is not None else None,
            }
        )


def _facts(description: "DatasetDescription") -> dict[str, object]:
    patients = {case.patient for case in description.cases if case.patient}
    return {
        "name": description.name,
        "cases": len(description.cases),
        "unlabelled": len(description.unlabelled),
        "patients": len(patients) or None,
        "channels": [channel.model_dump() for channel in description.channels],
        "labels": {label.name: label.value for label in description.labels},
        "instances": description.instances,
        "regions": {region.name: region.values for region in description.regions},
        "ignored_value": description.ignored_value,
        "licence": description.licence,
        "notes": list(description.notes),
    }


def _show(console: Console, description: "DatasetDescription") -> None:
    facts = _facts(description)
    channels = (f"{c.name} ({c.modality})" if c.modality else c.name for c in description.channels)
    console.table(
        f"Data set {description.name}",
        ("", ""),
        [
            ("cases", f"{facts['cases']} with a label, {facts['unlabelled']} without"),
            ("patients", str(facts["patients"] or "not known: each case counts as one")),
            ("channels", ", ".join(channels)),
            *structure_rows(description.model_dump(mode="json")),
            ("licence", description.licence or "not stated"),
        ],
    )
    for note in description.notes:
        console.say(f"Note: {note}")


def _show_faults(
    console: Console, description: "DatasetDescription", faults: "tuple[Fault, ...]"
) -> None:
    from medseg.dataset.naming import counted

    if faults:
        console.table(
            f"Faults of {description.name}",
            ("case", "fault", "what was found, and the cure"),
            [
                (
                    fault.case or "all",
                    f"{fault.severity}: {fault.kind}",
                    f"{fault.what}\n{fault.cure}",
                )
                for fault in faults
            ],
        )
    console.say(f"{counted(len(description.all_cases), 'case')}: {_amounts(faults)}.")


def _amounts(faults: "tuple[Fault, ...]") -> str:
    from medseg.dataset.naming import counted

    errors = sum(fault.severity == "error" for fault in faults)
    return f"{counted(errors, 'error')}, {counted(len(faults) - errors, 'warning')}"


def _show_folds(
    console: Console,
    description: "DatasetDescription",
    folds: "Folds",
    volumes_ml: dict[str, float],
) -> None:
    patient = {case.id: case.patient or case.id for case in description.cases}
    rows = []
    for n, ids in enumerate(folds.validation):
        mean_ml = sum(volumes_ml[case_id] for case_id in ids) / len(ids)
        rows.append((str(n), str(len(ids)), str(len({patient[i] for i in ids})), f"{mean_ml:.3g}"))
    console.table(
        f"{folds.count} folds of {description.name}, seed {folds.seed}",
        ("fold", "cases", "patients", "mean volume of the structures (ml)"),
        rows,
    )
