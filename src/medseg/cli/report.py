"""`medseg report`: the page of whatever train, predict, evaluate or compare left in a folder."""

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.console import Console, reporting

_RUN_FILES = ("metrics.json", "log.csv", "run.json")


def report(
    path: Annotated[
        Path,
        typer.Argument(help="Folder that medseg train, predict, evaluate or compare wrote."),
    ],
    out: Annotated[Path, typer.Option(help="The page, such as page.html.")],
    case: Annotated[
        str | None, typer.Option(help="Of a prediction: name of the case to make a page of.")
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(help="Of a case: an evaluation of the same model; gives volumes an interval."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Of a case: folder of the bundle, if not in the box.")
    ] = None,
    shown_as: Annotated[
        str, typer.Option(help="Of a case: another name on the page, such as a pseudonym.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write a page to read or to file: of a training, an evaluation, a comparison or a case."""
    with reporting(as_json=as_json) as console:
        kind = _kind_of(path, case)
        out = out / "report.html" if out.is_dir() else out
        if kind == "case":
            from medseg.report.pages.case_page import write_case_report

            write_case_report(
                path, _case_of(path, case), out, evaluation=scores, model=model, shown_as=shown_as
            )
        else:
            _require_no_case(kind, case, scores, model, shown_as)
            _write(kind, path, out, console)
        console.say(f"Report: {out.resolve()}")
        console.result({"kind": kind, "report": str(out)})


def _kind_of(path: Path, case: str | None) -> str:
    """What lies there: "comparison", "evaluation", "case" or "training".

    Raises:
        MissingPath: If it is nothing of them.
    """
    from medseg.errors import MissingPath

    held = {
        "comparison": (path / "comparison.json").is_file(),
        "evaluation": (path / "scores.json").is_file(),
        "case": (path / "predictions.json").is_file(),
        "training": any((path / name).is_file() for name in _RUN_FILES),
    }
    if case is not None and held["case"]:
        return "case"
    kind = next((name for name, there in held.items() if there), None)
    if kind is None:
        what = "no such folder" if not path.is_dir() else f"none of them in {path}"
        raise MissingPath(
            "A report is made of a folder with comparison.json, scores.json, predictions.json or "
            "the metrics.json of a training.",
            received=what if path.is_dir() else f"{what} as {path}",
            cure="Name the folder that was given to the command as --out.",
        )
    return kind


def _case_of(path: Path, case: str | None) -> str:
    """The case that is named, or the only one.

    Raises:
        EvaluationError: If there are several and none is named.
    """
    if case is not None:
        return case
    from medseg.errors import EvaluationError
    from medseg.report.pages.case_record import predicted_cases

    cases = predicted_cases(path)
    if len(cases) != 1:
        more = f" and {len(cases) - 5} more" if len(cases) > 5 else ""
        raise EvaluationError(
            "The page of a prediction is that of one case.",
            received=f"{len(cases)} cases in {path} ({', '.join(cases[:5])}{more}) and no --case",
            cure="Name one with --case.",
        )
    return cases[0]


def _require_no_case(
    kind: str, case: str | None, scores: Path | None, model: Path | None, shown_as: str
) -> None:
    """Pass if nothing was asked for that only the page of a case has.

    Raises:
        EvaluationError: If it was.
    """
    from medseg.errors import EvaluationError

    given = {"--case": case, "--scores": scores, "--model": model, "--shown-as": shown_as}
    named = [option for option, value in given.items() if value]
    if named:
        raise EvaluationError(
            f"{' and '.join(named)} belong{'s' if len(named) == 1 else ''} to a page of a case.",
            received=f"the folder of {'an' if kind[0] in 'aeiou' else 'a'} {kind}",
            cure="Name the folder that medseg predict wrote, or leave the option out.",
        )


def _write(kind: str, path: Path, out: Path, console: Console) -> None:
    """Write the page of a training, an evaluation or a comparison."""
    if kind == "training":
        from medseg.report.pages.training_page import write_training_report

        write_training_report(path, out)
    elif kind == "evaluation":
        from medseg.report.pages.evaluation_page import write_report
        from medseg.report.scores.recorded import read_evaluation

        write_report(read_evaluation(path), out, progress=console.progress)
    else:
        from medseg.report.pages.comparison_page import write_comparison_report
        from medseg.report.scores.recorded import read_comparison

        write_comparison_report(read_comparison(path), out)
