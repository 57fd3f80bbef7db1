"""The command `medseg`: one file for each command, none of which loads torch before it runs."""

from typing import Annotated

import typer

import medseg
from medseg.cli import (
    bench,
    compare,
    convert,
    convert_weights,
    dataset,
    demo,
    distill,
    drift,
    evaluate,
    export,
    import_nnunet,
    info,
    loop,
    networks,
    plan,
    predict,
    quantize,
    report,
    select,
    serve,
    serve_key,
    stream,
    train,
    version,
    view,
)
from medseg.cli.processes import openmp_threads

app = typer.Typer(
    name="medseg",
    help="Medical image segmentation: from a folder of scans to a judged segmentation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"medseg {medseg.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Medical image segmentation: from a folder of scans to a judged segmentation."""


app.command("demo")(demo.demo)
app.command("info")(info.info)
app.command("convert")(convert.convert)
app.command("convert-weights")(convert_weights.convert_weights)
app.command("import-nnunet")(import_nnunet.import_nnunet)
app.add_typer(dataset.app, name="dataset")
app.command("networks")(networks.networks)
app.command("plan")(plan.plan)
app.command("train")(train.train)
app.command("predict")(predict.predict)
app.command("stream")(stream.stream)
app.command("export")(export.export)
app.command("quantize")(quantize.quantize)
app.command("distill")(distill.distill)
app.command("bench")(bench.bench)
app.add_typer(drift.app, name="drift")
app.command("serve")(serve.serve)
app.command("worker")(serve.worker)
app.add_typer(serve_key.app, name="serve-key")
app.command("select")(select.select)
app.add_typer(version.app, name="version")
app.add_typer(loop.app, name="loop")
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("view")(view.view)
app.command("report")(report.report)


def main() -> None:
    """Run the command line."""
    number = openmp_threads()
    if number:
        from medseg.inference.machine import limit_threads

        limit_threads(number)
    app()
