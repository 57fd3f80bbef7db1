"""`medseg evaluate`: masks against references, as a table, as files and as a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.console import Console, reporting
from medseg.cli.scoring_options import (
    AllowMissing,
    LabelsFile,
    Regions,
    Resample,
    Surface,
    Tolerance,
    TolerancesFile,
    Tubes,
    settings_given,
    structures_given,
)
from medseg.cli.startup import loading

if TYPE_CHECKING:
    from medseg.report.scores.score import Evaluation
    from medseg.report.scores.settings import ScoreSettings
    from medseg.report.scores.summary import LabelSummary, Mean


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder of masks, or one mask.")],
    references: Annotated[
        Path, typer.Argument(help="Folder of reference masks, one mask, or a data set.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for scores.csv, scores.json, report.html.")],
    labels: LabelsFile = None,
    region: Regions = None,
    surface: Surface = "elements",
    tolerance: Tolerance = 1.0,
    tolerances: TolerancesFile = None,
    tubes: Tubes = None,
    lesions: Annotated[
        list[str] | None,
        typer.Option(help="A label whose parts are judged one by one. Repeatable."),
    ] = None,
    instances: Annotated[
        bool, typer.Option("--instances", help="Masks number objects: panoptic quality.")
    ] = False,
    probabilities: Annotated[
        Path | None,
        typer.Option(help="Folder of probabilities, a channel for each label: calibration."),
    ] = None,
    resample: Resample = False,
    allow_missing: AllowMissing = False,
    only_predicted: Annotated[
        bool, typer.Option("--only-predicted", help="Leave out cases without a prediction.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
) -> None:
    """Score masks against references: overlap, volume, surface distances in mm, and a report."""
    with reporting(as_json=as_json) as console:
        with loading():
            import medseg.volume.nifti  # noqa: F401 - what nearly every evaluation reads
            from medseg.report.pages.evaluation_page import remarks, write_report
            from medseg.report.scores.resume import forget
            from medseg.report.scores.score import evaluate as evaluate_folders
            from medseg.report.scores.tables import as_json as scores_as_json
            from medseg.report.scores.tables import save_scores

        known, regions, ignored = structures_given(labels, region)
        evaluation = evaluate_folders(
            predictions,
            references,
            labels=known,
            regions=regions,
            ignored_value=ignored,
            settings=settings_given(
                surface=surface, tolerance=tolerance, tolerances=tolerances, tubes=tubes,
                resample=resample, lesions=lesions, instances=instances,
            ),
            probabilities=probabilities,
            allow_missing=allow_missing,
            only_predicted=only_predicted,
            resume_in=out,
            progress=console.progress,
        )  # fmt: skip
        save_scores(evaluation, out)
        forget(out)
        show_scores(evaluation, console)
        report = write_report(evaluation, out / "report.html", progress=console.progress)
        for sentence in remarks(evaluation):
            console.say(sentence)
        console.say(f"Report: {report.resolve()}")
        console.result({**scores_as_json(evaluation), "report": str(report)})


def show_scores(evaluation: "Evaluation", console: Console) -> None:
    """Print means as tables of at most 80 columns, and the definitions beneath."""
    from medseg.report.html import counted

    named = list(evaluation.by_label.items())
    if len(named) > 1:
        named.append(("all", evaluation.overall))
    console.table(
        f"{counted(len(evaluation.cases), 'case')}: means; Dice with its 95 % interval; "
        "distances in mm",
        ("label", "Dice", "HD95", "ASSD", "NSD", "missed", "invented"),
        [_row(name, one) for name, one in named],
    )
    console.table(
        "Sensitivity, precision, predicted minus reference volume, boundary IoU"
        + ("; HD95 with lost ones at the diagonal" if _lost(evaluation) else ""),
        ("label", "sens.", "prec.", "ml diff.", "b. IoU", *_optional(evaluation)),
        [_second_row(name, one, evaluation) for name, one in named],
    )
    _show_details(evaluation, console)
    console.say(_definitions(evaluation.settings))


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


def _optional(evaluation: "Evaluation") -> tuple[str, ...]:
    """Columns that are there only where they say something."""
    tubes = ("clDice",) if evaluation.settings.tubes else ()
    return (*tubes, "HD95 pen.") if _lost(evaluation) else tubes


def _second_row(name: str, summary: "LabelSummary", evaluation: "Evaluation") -> tuple[str, ...]:
    means = summary.means
    row = [
        name,
        _shown(means["sensitivity"], 3),
        _shown(means["precision"], 3),
        _shown(means["volume_difference_ml"], 2, sign=True),
        _shown(means["boundary_iou"], 3),
    ]
    if evaluation.settings.tubes:
        row.append(_shown(means["cldice"], 3))
    if _lost(evaluation):
        penalised = means["hd95"].penalised
        row.append("-" if penalised is None else f"{penalised:.2f}")
    return tuple(row)


def _lost(evaluation: "Evaluation") -> int:
    return evaluation.overall.missed + evaluation.overall.false_positive


def _show_details(evaluation: "Evaluation", console: Console) -> None:
    """Lesions, objects and calibration, where there are any."""
    from medseg.report.scores.details import detection_of, objects_of, reliability_of

    for label in evaluation.labels:
        parts = detection_of(evaluation, label)
        if parts is not None:
            f1 = "-" if parts.f1 is None else f"{parts.f1:.3f}"
            dice = "-" if parts.mean_lesion_dice is None else f"{parts.mean_lesion_dice:.3f}"
            console.say(
                f"Lesions of {label.name}: {parts.found} of {parts.reference_lesions} found, "
                f"{parts.invented} invented; F1 {f1}, mean Dice of a lesion {dice}."
            )
        sure = reliability_of(evaluation, label)
        if sure is not None:
            console.say(
                f"Calibration of {label.name}: ECE {sure.ece:.4f}, Brier score {sure.brier:.4f}."
            )
    objects = objects_of(evaluation)
    if objects is not None:
        console.say(
            f"Objects: panoptic quality {_with_interval(objects.pq)}, segmentation "
            f"{_shown(objects.sq, 3)}, recognition {_shown(objects.rq, 3)}; {objects.tp} matched, "
            f"{objects.fn} missed, {objects.fp} invented."
        )


def _definitions(settings: "ScoreSettings") -> str:
    own = f" ({len(settings.tolerances_mm)} have their own)" if settings.tolerances_mm else ""
    return (
        f"Surface: {settings.surface}. HD95: larger of both directions. ASSD: pooled.\n"
        f"NSD: within {settings.tolerance_mm:g} mm{own}; the boundary of boundary IoU is as wide."
    )


def _shown(mean: "Mean", digits: int, *, sign: bool = False) -> str:
    return "-" if mean.mean is None else f"{mean.mean:{'+' if sign else ''}.{digits}f}"


def _with_interval(mean: "Mean") -> str:
    if mean.ci_low is None or mean.ci_high is None:
        return _shown(mean, 3)
    return f"{_shown(mean, 3)} ({mean.ci_low:.3f}–{mean.ci_high:.3f})"
