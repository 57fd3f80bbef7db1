"""Is the Dice of a mask foretold without its reference, on images good and bad?

A bundle that has seen a third of the cases; a model fitted on another third, each case as it is and
with worse copies; judged on 60 cases that neither has seen, a quarter of them made mildly worse and
a quarter severely. Beside it the expected Dice, which needs no fitting. Then the same for kinds of
corruption that the model was not fitted on.

    python bench/quality.py Task04_Hippocampus --keep FOLDER
"""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from medseg.continual.corruptions import CORRUPTIONS, corrupted
from medseg.continual.drift_observation import DICE, Observation
from medseg.continual.quality_calibration import COPIES, draws
from medseg.dataset.importers import open_dataset
from medseg.inference.quality_model import JudgedMask, QualityEvidence, fit_quality_model
from medseg.volume.volume import LabelMap, Volume
from watched import Looks, thirds, trained

MILD, SEVERE = 0, 3
"""Numbers of copies; see `quality_calibration.draws`."""


def evidence_in(values: Mapping[str, float]) -> QualityEvidence:
    """Values of an observation, as a model of quality takes them."""
    mask = {n.removeprefix("mask."): v for n, v in values.items() if n.startswith("mask.")}
    volumes = {
        n.removeprefix("volume_ml."): v for n, v in mask.items() if n.startswith("volume_ml.")
    }
    features = {n: v for n, v in mask.items() if not n.startswith(("volume_ml.", "parts."))}
    looks = {n.removeprefix("image."): v for n, v in values.items() if n.startswith("image.")}
    return QualityEvidence(features, volumes, looks)


def judged(case: str, seen: Observation, *, is_copy: bool = False) -> JudgedMask:
    return JudgedMask(case, is_copy, evidence_in(seen.values), seen.values[DICE])


def copies_of(
    looks: Looks, case: str, seed: int, which: Sequence[int]
) -> list[tuple[str, JudgedMask]]:
    """Worse copies of a case by their kind; each is looked at once and then kept."""
    found = []
    drawn = draws(seed, COPIES)
    for kind, strength, one in (drawn[n] for n in which):
        slug = f"{case}_copy_{kind.replace(' ', '-')}_{strength:.3f}_{one}"
        pair = partial(_pair, looks, case, kind, strength, one)
        seen = looks.at(slug, lambda pair=pair: pair()[0], lambda pair=pair: pair()[1])  # type: ignore[misc]
        found.append((kind, judged(case, seen, is_copy=True)))
    return found


def _pair(
    looks: Looks, case: str, kind: str, strength: float, seed: int
) -> tuple[Volume, LabelMap | None]:
    volume, reference = looks.volume(case), looks.reference(case)
    return corrupted(volume, reference, kind, strength=strength, seed=seed)


def line(name: str, foretold: Sequence[float], masks: Sequence[JudgedMask]) -> str:
    true = np.array([mask.dice for mask in masks])
    apart = np.array(foretold) - true
    rho = spearmanr(foretold, true).statistic
    return (
        f"| {name} | {len(true)} | {true.mean():.3f} ({true.min():.2f} to {true.max():.2f}) | "
        f"{rho:.2f} | {np.abs(apart).mean():.3f} | {apart.mean():+.3f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--keep", type=Path, required=True)
    chosen = parser.parse_args()
    described = open_dataset(chosen.data)
    bundle, parts = trained(described, chosen.keep), thirds(described)
    looks = Looks(bundle, described, chosen.keep)
    plain = [judged(case, looks.plain(case)) for case in parts.known]
    copies = [
        one
        for n, case in enumerate(parts.known)
        for one in copies_of(looks, case, n, range(COPIES))
    ]
    model = fit_quality_model([*plain, *(mask for _, mask in copies)], weights_sha256="")
    print(f"Fitted on {model.masks} masks of {model.cases} cases; left-out folds: mean error "
          f"{model.error:.3f}, Spearman {model.correlation:.2f}.")  # fmt: skip
    for name, weight in sorted(
        zip(model.signs, model.weights, strict=True), key=lambda x: -abs(x[1])
    ):
        print(f"  {name:22} {weight:+.3f}")
    order = np.random.default_rng(1).permutation(parts.new)
    half = len(order) // 2
    good = [judged(str(case), looks.plain(str(case))) for case in order[:half]]
    bad = [
        copies_of(looks, str(case), 1000 + n, (SEVERE if n % 2 else MILD,))[0]
        for n, case in enumerate(order[half:])
    ]
    mild, severe = [mask for _, mask in bad[::2]], [mask for _, mask in bad[1::2]]
    parts_of = {
        "as they are": good, "mildly worse": mild, "severely worse": severe,
        "half and half": good + mild + severe,
    }  # fmt: skip
    print("| what foretells | masks | true Dice | Spearman | mean error | bias |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, masks in parts_of.items():
        expected = [mask.evidence.features["expected_dice"] for mask in masks]
        print(line(f"expected Dice, {name}", expected, masks))
        print(line(f"**fitted**, {name}", [model.predict(m.evidence) for m in masks], masks))
    for kind in CORRUPTIONS:
        others = [mask for one, mask in copies if one != kind]
        blind = fit_quality_model([*plain, *others], weights_sha256="")
        unknown = [mask for one, mask in bad if one == kind]
        if len(unknown) > 2:
            told = [blind.predict(mask.evidence) for mask in unknown]
            print(line(f"fitted without {kind}, on {kind}", told, unknown))


if __name__ == "__main__":
    main()
