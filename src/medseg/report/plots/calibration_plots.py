"""Reliability diagrams: how often a structure is there where it is said to be with p."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from medseg.report.plots.figures import INK, as_svg
from medseg.report.scores.details import Reliability, reliability_of
from medseg.report.scores.score import Evaluation
from medseg.volume.labels import colour_of

_MOST = 6


def reliability_of_all(evaluation: Evaluation) -> dict[str, Reliability]:
    """Calibration of each structure for which there are probabilities, the worst first."""
    found = {label.name: reliability_of(evaluation, label) for label in evaluation.labels}
    known = {name: one for name, one in found.items() if one is not None}
    return dict(sorted(known.items(), key=lambda item: -item[1].ece))


def reliability_diagram(evaluation: Evaluation) -> str:
    """Observed frequency against probability, voxels of each bin beneath, as SVG.

    The six structures of the largest calibration error are drawn; "" where no probabilities were
    given. On the diagonal probabilities are what they say; below it the model is too sure.

    Source:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    found = dict(list(reliability_of_all(evaluation).items())[:_MOST])
    if not found:
        return ""
    colours = {one.name: colour_of(evaluation.labels, one) for one in evaluation.labels}
    return as_svg(_draw, found, colours)


def _draw(found: Mapping[str, Reliability], colours: Mapping[str, str]) -> Figure:
    figure = Figure(figsize=(11.0, 4.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1.0))
    above.plot([0, 1], [0, 1], color=INK, linewidth=1.0, linestyle="--", alpha=0.7)
    above.annotate("as it says", (0.02, 0.06), fontsize=9, rotation=0)
    for n, (name, one) in enumerate(found.items()):
        confidence, frequency = np.array(one.confidence), np.array(one.frequency)
        counts = np.array(one.count, np.float64)
        known = np.isfinite(confidence) & np.isfinite(frequency)
        label = f"{name}: ECE {one.ece:.3f}, Brier {one.brier:.3f}"
        above.plot(
            confidence[known], frequency[known], color=colours[name], marker="o", markersize=5,
            linewidth=1.8, label=label,
        )  # fmt: skip
        edges = np.linspace(0, 1, counts.size + 1)
        width = (edges[1] - edges[0]) / (len(found) + 1)
        below.bar(
            edges[:-1] + (n + 0.5) * width, counts, width, align="edge", color=colours[name],
            linewidth=0,
        )  # fmt: skip
    above.set_ylabel("There in truth")
    above.set_ylim(-0.02, 1.02)
    above.set_xlim(-0.01, 1.01)
    below.set_yscale("log")
    below.set_ylabel("Voxels")
    below.set_xlabel("Probability that was predicted")
    for axis in (above.yaxis, below.xaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    figure.legend(loc="outside upper left", ncols=min(len(found), 3))
    return figure
