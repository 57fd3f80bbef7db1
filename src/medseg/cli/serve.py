"""`medseg serve`: a DICOM segmentation service; and `medseg worker`: more hands for it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from medseg.cli.console import Console, reporting
from medseg.service import DATABASE_VARIABLE

SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="TOML file with everything that can be set.")
]
Url = Annotated[
    str | None,
    typer.Option(
        "--database",
        envvar=DATABASE_VARIABLE,
        show_envvar=True,
        help="SQLAlchemy's address; SQLite in the data folder without it.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the address as JSON.")]


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(help="Name or folder of a bundle; give it again for more. The first counts."),
    ] = None,
    settings: SettingsFile = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of all that is held: medseg-data without it.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Where it listens: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Where it listens: 8080.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that segment: 1.")] = None,
    database: Url = None,
    dimse_port: Annotated[
        int | None,
        typer.Option(help="Also take C-STORE on this port; the rest of it as [dimse] says."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Serve: studies come in by DICOMweb, C-STORE or the page at /, and DICOM-SEGs go out."""
    given: dict[str, Any] = {
        name: value
        for name, value in (
            ("models", model or None), ("data", data), ("host", host), ("port", port),
            ("workers", workers), ("database_url", database),
        )
        if value is not None
    }  # fmt: skip
    if dimse_port is not None:
        given["dimse"] = {"port": dimse_port}
    with reporting(as_json=as_json) as console:
        from medseg.cli.extras import require_service

        require_service()

        from medseg.service.serve import serve as serve_until_stopped
        from medseg.service.settings import read_settings

        chosen = read_settings(settings, given, {"data": Path("medseg-data")})
        serve_until_stopped(chosen, settings, lambda address: _tell(console, address))


def _tell(console: Console, address: str) -> None:
    console.say(f"medseg answers at {address}  (Ctrl-C ends it)")
    console.result({"address": address})


def worker(
    data: Annotated[Path, typer.Option(help="The service's data folder, on a disk that all see.")],
    database: Url = None,
    settings: SettingsFile = None,
    model: Annotated[
        str | None, typer.Option(help="A bundle to make ready before the first job comes.")
    ] = None,
    slot: Annotated[
        str | None,
        typer.Option(help="A name that it keeps over restarts; by default the machine's."),
    ] = None,
    parent: Annotated[
        int | None, typer.Option(hidden=True, help="Process without which it does not live on.")
    ] = None,
) -> None:
    """Carry out jobs of a service that runs here or on another machine."""
    with reporting(as_json=False):
        from medseg.cli.extras import require_service

        require_service()

        from medseg.bundle_folder import find_bundle
        from medseg.service.logs import start_logs
        from medseg.service.pseudonyms import Pseudonyms
        from medseg.service.settings import read_limits
        from medseg.service.worker import default_slot, run_worker, stop_on_signals

        limits = read_limits(settings)
        url = database or f"sqlite:///{(data / 'medseg.sqlite').absolute()}"
        start_logs(Pseudonyms.of_folder(data))
        bundle = None if model is None else find_bundle(model).resolve()
        stop = stop_on_signals(parent)
        run_worker(url, data, slot or default_slot(), limits, stop, bundle=bundle)
