"""Models side by side: scores of each case, paired differences, and how firm the ranking is."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from medseg.report.plots.figures import INK, as_svg, quiet_axes
from medseg.report.plots.score_plots import spread
from medseg.report.scores.compare import Comparison
from medseg.report.scores.summary import TITLES
from medseg.report.scores.verdict import PairedDifference
from medseg.volume.labels import PALETTE

MOST_STRUCTURES = 10
_MOST_DIFFERENCES = 30
_GROUP = 0.75
_OVERALL = "All structures"


def model_colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each model, by the order in which they were given."""
    return {name: PALETTE[n % len(PALETTE)] for n, name in enumerate(names)}


def shown_structures(comparison: Comparison) -> tuple[str, ...]:
    """The structures of a plot: of more than ten those where the models' means lie widest apart."""
    if len(comparison.labels) <= MOST_STRUCTURES:
        return comparison.labels

    def spread(label: str) -> float:
        means = [comparison.means[name][label].mean for name in comparison.names]
        known = [mean for mean in means if mean is not None]
        return max(known) - min(known) if known else 0.0

    widest = sorted(comparison.labels, key=spread, reverse=True)[:MOST_STRUCTURES]
    return tuple(label for label in comparison.labels if label in widest)


def model_distributions(comparison: Comparison) -> str:
    """Scores of each case by structure and model, points over boxes, as SVG."""
    return as_svg(_draw_distributions, comparison)


def _draw_distributions(comparison: Comparison) -> Figure:
    import seaborn as sns

    labels, names = shown_structures(comparison), comparison.names
    found = [
        (label, name, numbers[np.isfinite(numbers)])
        for label in labels
        for name in names
        for numbers in [comparison.numbers[name][:, comparison.labels.index(label)]]
    ]
    table = {
        "structure": [label for label, _, numbers in found for _ in numbers],
        "model": [name for _, name, numbers in found for _ in numbers],
        "score": np.concatenate([numbers for *_, numbers in found]),
    }
    figure = Figure(figsize=(11.0, 1.2 + 0.3 * len(labels) * len(names)), layout="constrained")
    axes = figure.subplots()
    quiet_axes(axes)
    colours = model_colours(names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        sns.boxplot(
            table, x="score", y="structure", hue="model", order=list(labels), ax=axes,
            hue_order=list(names), palette=colours, fill=False, showfliers=False, linewidth=1.2,
            width=_GROUP, gap=0.25, legend=False,
        )  # fmt: skip
    for label, name, numbers in found:
        row = labels.index(label) + (names.index(name) - (len(names) - 1) / 2) * _GROUP / len(names)
        axes.scatter(
            numbers, row + spread(numbers.size) * _GROUP / len(names), s=18, color=colours[name],
            alpha=0.6, linewidths=0, label=name if label == labels[0] else None,
        )  # fmt: skip
    axes.set_ylabel("")
    axes.set_xlabel(TITLES.get(comparison.metric, comparison.metric))
    if comparison.higher_is_better:
        axes.set_xlim(right=min(axes.get_xlim()[1], 1.005))
    else:
        axes.set_xlim(left=0.0)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2, markerscale=1.5
    )
    return figure


def paired_differences(comparison: Comparison) -> str:
    """Mean of each paired difference with its 95 % interval, as SVG; zero is no difference.

    Over all structures first, then structure by structure; of more than thirty those of the
    smallest p.
    """
    rows = [*comparison.overall]
    others = [one for one in comparison.differences if one.label != "mean" and one.n]
    kept = sorted(others, key=lambda one: one.p_holm)[: _MOST_DIFFERENCES - len(rows)]
    if len(comparison.labels) > 1:
        rows += [one for one in others if one in kept]
    return as_svg(_draw_differences, rows, comparison)


def _draw_differences(rows: Sequence[PairedDifference], comparison: Comparison) -> Figure:
    figure = Figure(figsize=(11.0, 1.1 + 0.36 * len(rows)), layout="constrained")
    axes = figure.subplots()
    quiet_axes(axes)
    axes.axvline(0.0, color=INK, linewidth=1.0)
    colours = model_colours(comparison.names)
    for row, one in enumerate(rows):
        colour = colours[one.winner] if one.winner else INK
        if one.ci_low is not None and one.ci_high is not None:
            axes.plot([one.ci_low, one.ci_high], [row, row], color=colour, linewidth=2.4)
        axes.plot(
            [one.difference], [row], color=colour, marker="o" if one.winner else "D",
            markersize=7 if one.winner else 5,
        )  # fmt: skip
    alone = len(comparison.names) == 2
    axes.set_yticks(range(len(rows)), [_told(one, alone=alone) for one in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    reach = max((abs(x) for x in axes.get_xlim()), default=1.0)
    axes.set_xlim(-reach, reach)
    first, second = (comparison.names[:2]) if alone else ("first", "second")
    unit = TITLES.get(comparison.metric, comparison.metric)
    axes.set_xlabel(f"{unit}: {first} \u2212 {second}")
    return figure


def _told(one: PairedDifference, *, alone: bool) -> str:
    where = _OVERALL if one.label == "mean" else one.label
    return where if alone else f"{where}: {one.first} \u2212 {one.second}"


def rank_shares(comparison: Comparison) -> str:
    """In which share of resamples each model takes which rank, as SVG."""
    ranking = comparison.ranking
    order = {name: ranking.shares[ranking.names.index(name)] for name in ranking.order}
    return as_svg(_draw_shares, order)


def _draw_shares(shares: Mapping[str, Sequence[float]]) -> Figure:
    import seaborn as sns

    figure = Figure(figsize=(11.0, 1.5 + 0.42 * len(shares)), layout="constrained")
    axes = figure.subplots()
    quiet_axes(axes)
    shades = sns.color_palette("blend:#0072b2,#b9d7ea", len(shares)).as_hex()
    left = np.zeros(len(shares))
    for place in range(len(shares)):
        width = np.array([share[place] for share in shares.values()])
        axes.barh(range(len(shares)), width, 0.62, left=left, color=shades[place], linewidth=0,
                  label=f"rank {place + 1}")  # fmt: skip
        for row, (start, part) in enumerate(zip(left, width, strict=True)):
            if part >= 0.06:
                dark = place < len(shares) / 2
                axes.annotate(
                    f"{100 * part:.0f} %", (start + part / 2, row), ha="center", va="center",
                    color="#ffffff" if dark else "#10202c", fontsize=10,
                )  # fmt: skip
        left += width
    axes.set_yticks(range(len(shares)), list(shares))
    axes.set_ylim(len(shares) - 0.5, -0.5)
    axes.set_xlim(0.0, 1.0)
    axes.set_xlabel("Share of resamples of the cases")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=min(len(shares), 6), borderaxespad=0.2
    )
    return figure
