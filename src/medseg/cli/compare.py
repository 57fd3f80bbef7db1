"""`medseg compare`: two or more models on the same cases; who wins, or that nobody can tell."""

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
    from collections.abc import Callable

    from medseg.report.scores.compare import Comparison
    from medseg.report.scores.score import Evaluation
    from medseg.report.scores.score_table import ScoreTable
    from medseg.volume.labels import Labels

_LISTED = 12


def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Two or more, each as NAME=FOLDER or FOLDER: results of medseg evaluate, or "
            "masks if --references is given."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for comparison.csv, comparison.json, report.html.")
    ],
    references: Annotated[
        Path | None,
        typer.Option(help="Reference masks or a data set: the models' masks are evaluated first."),
    ] = None,
    metric: Annotated[
        str, typer.Option(help="The score that decides: dice, hd95, assd, nsd and so on.")
    ] = "dice",
    labels: LabelsFile = None,
    region: Regions = None,
    surface: Surface = "elements",
    tolerance: Tolerance = 1.0,
    tolerances: TolerancesFile = None,
    tubes: Tubes = None,
    resample: Resample = False,
    allow_missing: AllowMissing = False,
    only_common: Annotated[
        bool, typer.Option("--only-common", help="Leave out cases that some model lacks.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Compare models case by case: who is better, on which label, and whether at all."""
    with reporting(as_json=as_json) as console:
        with loading():
            from medseg.report.pages.comparison_page import write_comparison_report
            from medseg.report.scores.compare import compare_tables
            from medseg.report.scores.comparison_tables import as_json as comparison_as_json
            from medseg.report.scores.comparison_tables import save_comparison
            from medseg.report.scores.score import evaluate

        folders = _named(models)
        if references is None:
            tables = _earlier(folders)
        else:
            known, regions, ignored = structures_given(labels, region)
            settings = settings_given(
                surface=surface, tolerance=tolerance, tolerances=tolerances, tubes=tubes,
                resample=resample,
            )  # fmt: skip

            def score(name: str, labels: "Labels | None") -> "Evaluation":
                return evaluate(
                    folders[name], references, labels=labels, regions=regions,
                    ignored_value=ignored, settings=settings,
                    allow_missing=allow_missing, only_predicted=only_common,
                    resume_in=out / name, progress=console.progress,
                )  # fmt: skip

            tables = _evaluated(list(folders), known, score, out)
        comparison = compare_tables(tables, metric=metric, only_common=only_common)
        save_comparison(comparison, out)
        _show(comparison, console)
        report = out / "report.html"
        write_comparison_report(comparison, report)
        console.say(f"Report: {report.resolve()}")
        console.result({**comparison_as_json(comparison), "report": str(report)})


def _named(models: list[str]) -> dict[str, Path]:
    """Name and folder of each model; the folder's own name where none is given.

    Raises:
        EvaluationError: If there are fewer than two, or two of one name.
    """
    from medseg.errors import EvaluationError

    found: dict[str, Path] = {}
    for text in models:
        name, equals, folder = text.partition("=")
        if not equals or Path(text).exists():
            name, folder = Path(text).resolve().name, text
        name = name.strip()
        if not name or not folder or name in found or "/" in name or name in (".", "..", "mean"):
            raise EvaluationError(
                'Models have different names, without slashes and other than "mean".',
                received=repr(text),
                cure="Write NAME=FOLDER for each.",
            )
        found[name] = Path(folder)
    if len(found) < 2:
        raise EvaluationError(
            "A comparison takes two or more models.",
            received=" ".join(models),
            cure="Write NAME=FOLDER for each; the references come with --references.",
        )
    return found


def _earlier(folders: dict[str, Path]) -> "dict[str, ScoreTable]":
    """The scores of earlier evaluations."""
    from medseg.report.scores.score_table import read_scores

    return {name: read_scores(folder) for name, folder in folders.items()}


def _evaluated(
    names: list[str],
    known: "Labels | None",
    score: "Callable[[str, Labels | None], Evaluation]",
    out: Path,
) -> "dict[str, ScoreTable]":
    """Evaluate each model's masks by the same labels; its scores stay in a folder of its name."""
    from medseg.report.scores.resume import forget
    from medseg.report.scores.score_table import table_of
    from medseg.report.scores.tables import save_scores
    from medseg.volume.labels import make_labels

    found = {name: score(name, known) for name in names}
    every = {label.value: label for one in found.values() for label in one.structures.labels}
    for name, one in found.items():
        if {label.value for label in one.structures.labels} != set(every):
            found[name] = score(name, make_labels(every.values()))
    for name, one in found.items():
        save_scores(one, out / name)
        forget(out / name)
    return {name: table_of(one) for name, one in found.items()}


def _show(comparison: "Comparison", console: Console) -> None:
    """The conclusion, a table of means, the pairs in words, and how firm the ranking is."""
    from medseg.report.html import counted

    console.say(comparison.headline)
    names = comparison.ranking.order
    digits = 3 if comparison.higher_is_better else 2
    console.table(
        f"{counted(len(comparison.cases), 'case')}: mean {comparison.metric}",
        ("label", *names),
        [_row(label, names, comparison, digits) for label in (*comparison.labels, "mean")],
    )
    told = [one for one in comparison.differences if one.label != "mean"]
    for one in (*comparison.overall, *told[:_LISTED]):
        console.say(one.sentence)
    if len(told) > _LISTED:
        console.say(f"{len(told) - _LISTED} more are in comparison.csv and in the report.")
    ranking = comparison.ranking
    console.say(
        f"Ranking: {', '.join(_placed(name, comparison) for name in names)}. Its order agrees with "
        f"those on resampled cases by Kendall's tau {ranking.kendall_tau:.2f} on average."
    )


def _row(label: str, names: tuple[str, ...], comparison: "Comparison", digits: int) -> list[str]:
    cells = []
    for name in names:
        mean = comparison.means[name][label]
        text = "-" if mean.mean is None else f"{mean.mean:.{digits}f}"
        if mean.ci_low is not None and mean.ci_high is not None:
            text += f" ({mean.ci_low:.{digits}f}–{mean.ci_high:.{digits}f})"
        lost = comparison.lost[name][label]
        cells.append(f"{text}, {lost} lost" if lost else text)
    return [label, *cells]


def _placed(name: str, comparison: "Comparison") -> str:
    ranking = comparison.ranking
    at = ranking.names.index(name)
    return f"{name} {ranking.ranks[at]:g} (95 %: {ranking.low[at]:g} to {ranking.high[at]:g})"
