"""`medseg drift`: a baseline of usual cases, and whether the data have changed since."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medseg.cli.console import Console, reporting
from medseg.cli.dicom_options import AllowGaps
from medseg.cli.drift_calibrate import calibrate, said
from medseg.cli.durations import seconds_of

if TYPE_CHECKING:
    from medseg.bundle import Bundle
    from medseg.continual.drift import DriftReport, Watched
    from medseg.continual.drift_baseline import DriftBaseline
    from medseg.continual.drift_observation import Observer
    from medseg.inference.inputs import CaseInput
    from medseg.inference.opinions import Examiner
    from medseg.progress import Progress
    from medseg.volume.labels import Label
    from medseg.volume.volume import LabelMap, Volume

EXIT_ALARM = 3
"""The data changed: for cron, beside 0 (no change), 1 (the work failed) and 2 (wrong usage)."""

SETTLED_SECONDS = 2.0
"""A file that was written to more recently is still on its way."""

_SHOWN_STATISTICS = 6

app = typer.Typer(no_args_is_help=True, help="Notice when data are no longer what a bundle knows.")
app.command("calibrate")(calibrate)

Cases = Annotated[
    list[Path], typer.Argument(help="Image files, folders of image files, or DICOM folders.")
]
Model = Annotated[
    str, typer.Option(help="Name of a bundle in the box, or a bundle's or a run's folder.")
]
Labels = Annotated[
    Path | None,
    typer.Option(help="Folder of label files, each under the name of its case, where known."),
]
Place = Annotated[
    Path | None, typer.Option("--baseline", help="Folder of the baseline.  [the bundle's own]")
]
Prometheus = Annotated[
    Path | None, typer.Option(help="Also write gauges there, for a textfile collector.")
]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where networks run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]


@app.command("baseline")
def make(
    cases: Cases,
    model: Model,
    labels: Labels = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the baseline.  [the bundle's own]")
    ] = None,
    window: Annotated[int, typer.Option(min=3, help="Cases that are judged together.")] = 10,
    rate: Annotated[
        float, typer.Option(min=0.005, max=0.5, help="Share of unchanged windows with an alarm.")
    ] = 0.01,
    learned: Annotated[
        bool,
        typer.Option("--learned", help="Also take cases that the networks have learned from."),
    ] = False,
    allow_gaps: AllowGaps = False,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Seed of all that is drawn.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Note what is usual: cases that the bundle was not trained on, with labels or without.

    With labels of 20 cases or more, a model that foretells Dice is fitted too.
    """
    with reporting(as_json=as_json) as console:
        from medseg.allocator import keep_freed_memory

        keep_freed_memory()

        from medseg.bundle import load_bundle
        from medseg.continual.drift_baseline import make_baseline, save_baseline
        from medseg.continual.drift_observation import Observation, Observer, observe_all
        from medseg.inference.inputs import find_inputs

        bundle = load_bundle(model)
        found = find_inputs(cases, allow_gaps=allow_gaps, progress=console.progress)
        usual = found if learned else _unlearned(found, bundle, console)
        observer = Observer(bundle, device=device)
        place = out or bundle.folder or Path()
        references = _references(labels, usual)
        seen = list(observe_all(usual, observer, references=references, progress=console.progress))
        for one in seen:
            if not isinstance(one, Observation):
                console.complain(one.code, f"{one.case}: {one.message}")
        observations = [one for one in seen if isinstance(one, Observation)]
        baseline = make_baseline(
            observations, bundle, window=window, false_alarm_rate=rate, seed=seed,
            progress=console.progress,
        )  # fmt: skip
        foretold = _foretold(observer.examiner, usual, references, place, seed, console.progress)
        path = save_baseline(baseline, place)
        _say_baseline(console, baseline, foretold, path)


@app.command("check")
def check(
    cases: Cases,
    model: Model,
    out: Annotated[Path, typer.Option(help="Folder for the report, its page and what was seen.")],
    labels: Labels = None,
    baseline: Place = None,
    prometheus: Prometheus = None,
    allow_gaps: AllowGaps = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Tell whether cases are still like the baseline; exit code 3 if they are not.

    Cases are taken in the order of their names.
    """
    with reporting(as_json=as_json) as console:
        from medseg.inference.inputs import find_inputs

        observer, usual = _opened(model, baseline, device)
        found = find_inputs(cases, allow_gaps=allow_gaps, progress=console.progress)
        watched = _looked(observer, usual, found, labels, out, console.progress)
        _write(watched, usual, out, prometheus)
        _say(console, watched.report, out)
        if watched.report.alarm:
            raise typer.Exit(EXIT_ALARM)


@app.command("watch")
def watch(
    folder: Annotated[Path, typer.Argument(help="Folder that new cases arrive in.")],
    model: Model,
    out: Annotated[Path, typer.Option(help="Folder for the report, its page and what was seen.")],
    every: Annotated[str, typer.Option(help="Time between two looks: 30s, 5m, 1h.")] = "60s",
    once: Annotated[bool, typer.Option("--once", help="Look once: for cron.")] = False,
    until_alarm: Annotated[
        bool, typer.Option("--until-alarm", help="End with exit code 3 at the first alarm.")
    ] = False,
    labels: Labels = None,
    baseline: Place = None,
    prometheus: Prometheus = None,
    allow_gaps: AllowGaps = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Look at a folder again and again; report, page and gauges are written after each new case.

    Cases are taken in the order of their times. What was seen is kept in --out, so a watch that was
    stopped goes on where it was.
    """
    seconds = seconds_of(every)
    with reporting(as_json=as_json) as console:
        observer, usual = _opened(model, baseline, device)
        known: list[str] = []
        while True:
            found = list(_arrived(folder, allow_gaps))
            names = [case.id for case in found]
            if names and (names != known or labels is not None):
                watched = _looked(observer, usual, found, labels, out, console.progress)
                _write(watched, usual, out, prometheus)
                if names != known:
                    _say(console, watched.report, out)
                known = names
                if watched.report.alarm and (once or until_alarm):
                    raise typer.Exit(EXIT_ALARM)
            if once:
                if not names:
                    console.say(f"No case in {folder} yet.")
                return
            time.sleep(seconds)


def _opened(
    model: str, place: Path | None, device: Literal["auto", "cpu", "cuda"]
) -> "tuple[Observer, DriftBaseline]":
    from medseg.allocator import keep_freed_memory

    keep_freed_memory()

    from medseg.bundle import load_bundle
    from medseg.continual.drift_baseline import load_baseline
    from medseg.continual.drift_observation import Observer

    bundle = load_bundle(model)
    usual = load_baseline(place or bundle.folder or Path(), bundle)
    return Observer(bundle, device=device), usual


def _looked(
    observer: "Observer",
    usual: "DriftBaseline",
    found: "Sequence[CaseInput]",
    labels: Path | None,
    out: Path,
    progress: "Progress",
) -> "Watched":
    from medseg.continual.drift import watched

    references = _references(labels, found)
    return watched(observer, found, usual, references=references, folder=out, progress=progress)


def _unlearned(
    found: "tuple[CaseInput, ...]", bundle: "Bundle", console: Console
) -> "tuple[CaseInput, ...]":
    """Cases that the bundle does not name among those it was trained on."""
    learned = set(bundle.provenance.training_cases)
    kept = tuple(case for case in found if case.id not in learned)
    if len(kept) < len(found):
        console.progress.note(
            f"{len(found) - len(kept)} of {len(found)} cases were left out: the networks have "
            "learned from cases of these names (--learned takes them all the same)."
        )
    return kept


def _references(labels: Path | None, cases: "Sequence[CaseInput]") -> dict[str, Path]:
    """Label files by the name of the case.

    Raises:
        MissingPath: If the folder is not there.
    """
    from medseg.errors import MissingPath
    from medseg.volume.io import is_image_file, stem_of

    if labels is None:
        return {}
    if not labels.is_dir():
        raise MissingPath(
            "Labels lie in a folder.",
            received=f"none at {labels}",
            cure="Check the spelling of --labels.",
        )
    files = {stem_of(path): path for path in sorted(labels.iterdir()) if is_image_file(path)}
    return {case.id: files[case.id] for case in cases if case.id in files}


def _foretold(
    examiner: "Examiner",
    cases: "tuple[CaseInput, ...]",
    references: dict[str, Path],
    place: Path,
    seed: int,
    progress: "Progress",
) -> str:
    """Fit a model of quality where enough labels are known, and say how good it is."""
    from medseg.continual.quality_calibration import (
        FEWEST_CASES,
        LabelledCase,
        calibrate_quality,
    )
    from medseg.inference.quality_model import save_quality_model

    labels = examiner.bundle.labels
    labelled = [
        LabelledCase(case.id, partial(_pair, case, references[case.id], labels))
        for case in cases
        if case.id in references
    ]
    if len(labelled) < FEWEST_CASES:
        return (
            f"Dice is not foretold: that needs {FEWEST_CASES} labelled cases, and there are "
            f"{len(labelled)}."
        )
    model = calibrate_quality(examiner, labelled, seed=seed, progress=progress)
    return said(model, save_quality_model(model, place))


def _pair(case: "CaseInput", label: Path, labels: "tuple[Label, ...]") -> "tuple[Volume, LabelMap]":
    from medseg.volume.io import read_label_map

    return case.read(), read_label_map(label, labels)


def _arrived(folder: Path, allow_gaps: bool) -> "Iterator[CaseInput]":
    """Cases whose files are complete, by the time of their last file."""
    from medseg.errors import MissingPath
    from medseg.inference.inputs import find_inputs

    if not folder.is_dir():
        raise MissingPath(
            "A folder is watched.",
            received=f"none at {folder}",
            cure="Make the folder first, or check the spelling of its path.",
        )
    try:
        found = find_inputs([folder], allow_gaps=allow_gaps)
    except MissingPath:
        return
    at = {case.id: max(path.stat().st_mtime for path in case.images) for case in found}
    settled = time.time() - SETTLED_SECONDS
    yield from sorted(
        (case for case in found if at[case.id] < settled), key=lambda case: (at[case.id], case.id)
    )


def _write(watched: "Watched", usual: "DriftBaseline", out: Path, prometheus: Path | None) -> None:
    from medseg.continual.drift import save_report
    from medseg.continual.drift_shown import gauges, write_page
    from medseg.files import write_text

    save_report(watched.report, out)
    write_page(watched, usual, out / "report.html")
    if prometheus is not None:
        write_text(prometheus, gauges(watched.report))


def _say(console: Console, report: "DriftReport", out: Path) -> None:
    from medseg.continual.drift_shown import HOW, words

    for one in report.unread:
        console.complain(one.code, f"{one.case}: {one.message}")
    rows = [
        [words(one), HOW[one.kind], f"{one.surprise:.1f} of {one.threshold:.1f}", one.since or "",
         "" if one.usual is None else f"{one.usual:.4g}",
         "" if one.now is None else f"{one.now:.4g}"]
        for one in report.statistics[:_SHOWN_STATISTICS]
    ]  # fmt: skip
    console.table(
        "Most surprising",
        ["number", "statistic", "surprise, threshold", "since", "usual", "now"],
        rows,
    )
    strange = [one.case for one in report.cases if one.strange]
    if report.alarm:
        console.say(
            f"ALARM: the data changed, most likely with {report.since}; it was noticed after "
            f"{report.delay_cases} cases of a window, with {report.alarm_at}."
        )
    else:
        console.say(
            f"No change in {len(report.cases)} cases. (Without one, "
            f"{100 * report.false_alarm_rate:g} % of windows of {report.window} raise an alarm.)"
        )
    console.say(
        f"{len(strange)} of {len(report.cases)} cases are strange by themselves (p < 0.05)."
    )
    console.say(f"Page: {out / 'report.html'}")
    console.result({"out": str(out), **report.model_dump()})


def _say_baseline(console: Console, baseline: "DriftBaseline", foretold: str, path: Path) -> None:
    about = baseline.about
    console.say(
        f"Baseline of {len(about.cases)} cases: {100 * about.false_alarm_rate:g} % of windows of "
        f"{about.window} usual cases raise an alarm."
    )
    console.say(foretold)
    console.say(f"Written: {path}")
    console.result(
        {"baseline": str(path), "foretold": foretold, **about.model_dump(exclude={"cases"}),
         "cases": len(about.cases)}
    )  # fmt: skip
