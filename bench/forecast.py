"""Does the final Dice lie where it was foretold, at a quarter, a half and three quarters?

Each run folder holds the log of a finished training (`log.csv`, `metrics.json`). Its looks at a few
held-out cases are fed to the forecast as they came; the truth is the Dice of all held-out cases at
the end, on their own grid. The spread between the cases of a look is not in the log: that of their
final Dice stands for it.

    python bench/forecast.py RUN [RUN ...]
"""

import argparse
import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medseg.training.forecast import CONFIDENCE, LEAST_LOOKS, Sight, forecast

LOOKED_AT = 4
MOMENTS = (0.25, 0.5, 0.75)


class Told(NamedTuple):
    """One forecast and what came true."""

    run: str
    share: float
    dice: float
    error: float
    truth: float
    last_look: float

    @property
    def is_held(self) -> bool:
        """Whether the truth lies within the error."""
        return abs(self.dice - self.truth) <= self.error


def foretold(folder: Path) -> Iterator[Told]:
    """The forecasts of every fold of a run at the three moments."""
    metrics = json.loads((folder / "metrics.json").read_text())
    if metrics["measured_on"] != "cases that were held out":
        return
    with (folder / "log.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for fold in metrics["folds"]:
        number, truth = fold["fold"], fold["dice"]["mean"]
        cases = [
            float(np.mean([d for d in case["dice"].values() if d is not None]))
            for case in metrics["cases"]
            if case["fold"] == number
        ]
        few = cases[:LOOKED_AT]
        spread = float(np.std(few, ddof=1)) if len(few) > 1 else 0.0
        sights = [
            Sight(float(row["share"]), float(row["validation_dice"]), spread, len(few))
            for row in rows
            if int(row["fold"]) == number and row["validation_dice"]
        ]
        for moment in MOMENTS:
            so_far = [sight for sight in sights if sight.share <= moment]
            found = forecast(so_far, held_out=len(cases))
            if found is not None and len(so_far) >= LEAST_LOOKS:
                name = f"{folder}/{number}"
                yield Told(name, moment, found.dice, found.error, truth, sights[-1].dice)


def main() -> None:
    """Print each forecast, and for each moment how often it held and how far it was off."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path)
    told = [one for run in parser.parse_args().runs for one in foretold(run)]
    for one in told:
        print(
            f"{one.run:40s} {one.share:4.0%}  {one.dice:.3f} +- {one.error:.3f}  "
            f"was {one.truth:.3f}  {'held' if one.is_held else 'MISSED'}  "
            f"(last look {one.last_look:.3f})"
        )
    for moment in MOMENTS:
        at = [one for one in told if one.share == moment]
        if not at:
            continue
        held = sum(one.is_held for one in at)
        off = np.mean([abs(one.dice - one.truth) for one in at])
        said = np.mean([one.error for one in at])
        look = np.mean([abs(one.dice - one.last_look) for one in at])
        low = held / len(at) - math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / len(at))
        print(
            f"at {moment:.0%} of {len(at)} trainings: held in {held} ({held / len(at):.0%}, "
            f"said {CONFIDENCE:.0%}); mean error {off:.4f}, said {said:.4f}; "
            f"against the last look {look:.4f}; one standard error below: {low:.0%}"
        )


if __name__ == "__main__":
    main()
