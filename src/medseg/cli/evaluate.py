"""`medseg evaluate`: masks against references, as a table, as files and as a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.console import Console, reporting

if TYPE_CHECKING:
    from medseg.report.score import Evaluation
    from medseg.report.summary import LabelSummary, Mean


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder of masks, or one mask.")],
    references: Annotated[
        Path, typer.Argument(help="Folder of reference masks, one mask, or a data set.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for scores.csv, scores.json, report.html.")],
    labels: Annotated[
        Path | None,
        typer.Option(help='JSON with names and values: {"liver": 1}, a dataset.json or a bundle.'),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="Surface distance in mm that still counts as right (NSD).")
    ] = 1.0,
    only_predicted: Annotated[
        bool, typer.Option("--only-predicted", help="Leave out cases without a prediction.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
) -> None:
    """Score masks against references: Dice, IoU, surface distances in mm, and a report."""
    with reporting(as_json=as_json) as console:
        from medseg.report.names import read_labels
        from medseg.report.page import remarks, write_report
        from medseg.report.score import evaluate as evaluate_folders
        from medseg.report.tables import as_json as scores_as_json
        from medseg.report.tables import save_scores

        evaluation = evaluate_folders(
            predictions,
            references,
            labels=read_labels(labels) if labels else None,
            tolerance_mm=tolerance,
            only_predicted=only_predicted,
            progress=console.progress,
        )
        save_scores(evaluation, out)
        report = write_report(evaluation, out / "report.html", progress=console.progress)
        _show(evaluation, console)
        for sentence in remarks(evaluation):
            console.say(sentence)
        console.say(f"Report: {report.resolve()}")
        console.result({**scores_as_json(evaluation), "report": str(report)})


def _show(evaluation: "Evaluation", console: Console) -> None:
    rows = [_row(name, one) for name, one in evaluation.by_label.items()]
    if len(rows) > 1:
        rows.append(_row("all", evaluation.overall))
    console.table(
        f"{len(evaluation.cases)} cases: means; Dice with its 95 % interval",
        ("label", "Dice", "HD95 mm", "ASSD mm", "NSD", "missed", "invented"),
        rows,
    )


def _row(name: str, summary: "LabelSummary") -> tuple[str, ...]:
    means = summary.means
    return (
        name,
        _with_interval(means["dice"]),
        _shown(means["hd95"], 2),
        _shown(means["assd"], 2),
        _shown(means["nsd"], 3),
        str(summary.missed),
        str(summary.false_positive),
    )


def _shown(mean: "Mean", digits: int) -> str:
    return "-" if mean.mean is None else f"{mean.mean:.{digits}f}"


def _with_interval(mean: "Mean") -> str:
    if mean.ci_low is None or mean.ci_high is None:
        return _shown(mean, 3)
    return f"{_shown(mean, 3)} ({mean.ci_low:.3f}–{mean.ci_high:.3f})"
