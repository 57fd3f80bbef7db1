"""Does the estimate of quality order cases as their true Dice does?

Predicts the cases of a folder that the bundle has not seen, as they are and with two strengths of
noise, and prints Spearman's rank correlation of estimate and Dice, and their mean difference.

    python bench/quality.py BUNDLE IMAGES LABELS
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from medseg.bundle import load_bundle
from medseg.inference.inputs import find_inputs
from medseg.inference.predict import Predictor
from medseg.volume.io import read_label_map
from medseg.volume.volume import Volume

NOISE = (0.0, 0.5, 1.2)
"""Standard deviations of the added noise, in standard deviations of the image."""


def dice(found: np.ndarray, true: np.ndarray) -> float:
    return float(2 * (found & true).sum() / max(1, found.sum() + true.sum()))


def measured(
    predictor: Predictor, images: Path, labels: Path
) -> Iterator[tuple[float, float, float]]:
    """Noise, estimate and mean Dice of each unseen case."""
    rng = np.random.default_rng(0)
    seen = set(predictor.bundle.provenance.training_cases)
    for case in find_inputs([images]):
        if case.id in seen:
            continue
        volume = case.read()
        true = read_label_map(labels / case.images[0].name)
        for noise in NOISE:
            array = volume.array + rng.normal(
                0, noise * volume.array.std() or 1e-9, volume.array.shape
            )
            prediction = predictor.predict(
                Volume(array.astype(np.float32), volume.geometry, volume.channel_names)
            )
            found = prediction.label_map
            scores = [dice(found.mask(x), true.array == x.value) for x in found.labels]
            yield noise, prediction.quality.score, float(np.mean(scores))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    options = parser.parse_args()
    rows = np.array(
        list(measured(Predictor(load_bundle(options.bundle)), options.images, options.labels))
    )
    print("noise  cases  Dice  estimate  Spearman  mean difference")
    for name, part in [(f"{n}", rows[rows[:, 0] == n]) for n in NOISE] + [("all", rows)]:
        rho = spearmanr(part[:, 1], part[:, 2])[0]
        apart = np.abs(part[:, 1] - part[:, 2]).mean()
        means = f"{part[:, 2].mean():.3f} {part[:, 1].mean():9.3f}"
        print(f"{name:5} {len(part):6} {means} {rho:9.2f} {apart:10.3f}")


if __name__ == "__main__":
    main()
