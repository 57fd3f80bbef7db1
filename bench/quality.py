"""Is the Dice of a mask foretold without its reference, on images good and bad?

The model that foretells is fitted in one of two ways, on cases as they are and made worse:

* on the cases of a cross-validation: two thirds of the data set train five networks, and each case
  is judged by the network that has not learned from it (`medseg drift calibrate`);
* with `--new-cases`, on cases that no network has learned from: one third trains three networks,
  and those of another are judged by all of them together (`medseg drift baseline --labels`).

It is judged on 60 cases that nobody has seen, a quarter of them made mildly worse and a quarter
severely. Beside it the expected Dice, which needs no fitting. Then the same for kinds of corruption
that the model was not fitted on; and, told out of fold on the cases that it is fitted on, what the
share of severe copies does to both figures, and what it would help to be told the kind and the
strength of what was done to an image.

    python bench/quality.py Task04_Hippocampus --keep FOLDER [--new-cases]
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
from scipy.stats import spearmanr

from medseg.bundle import Bundle, load_bundle
from medseg.continual.corruptions import CORRUPTIONS, corrupted
from medseg.continual.drift_observation import mean_dice
from medseg.continual.judged_masks import JudgedMasks
from medseg.continual.out_of_fold import networks_that_held_out
from medseg.continual.quality_calibration import (
    COPIES,
    LabelledCase,
    calibrate_quality,
    draws,
    key_of,
)
from medseg.dataset.description import DatasetDescription, read_case, read_case_label
from medseg.dataset.importers import open_dataset
from medseg.inference.opinions import Examiner
from medseg.inference.quality_model import (
    JudgedMask,
    QualityModel,
    evidence_of,
    fit_quality_model,
)
from medseg.training.crossval import train
from medseg.training.run import RunSettings
from medseg.types import FloatArray
from medseg.volume.volume import LabelMap, Volume
from watched import thirds, trained

EPOCHS, FOLDS = 16, (0, 1, 2, 3, 4)
MILD, SEVERE = 0, 3
"""Numbers of copies; see `quality_calibration.draws`."""

MIXTURES = 200


class Seen(NamedTuple):
    """A mask of all networks, and the masks of each."""

    kind: str
    together: JudgedMask
    alone: Sequence[JudgedMask]

    def foretold(self, model: QualityModel) -> float:
        """As `medseg.inference.foretelling` does."""
        if model.judges == "ensemble":
            return model.predict(self.together.evidence)
        return fmean(model.predict(one.evidence) for one in self.alone)


def cross_validated(described: DatasetDescription, folder: Path) -> Bundle:
    """The bundle of two thirds, trained if it is not there."""
    if (folder / "bundle").is_dir():
        return load_bundle(folder / "bundle")
    parts = thirds(described)
    ids = {*parts.learned, *parts.known}
    part = described.model_copy(
        update={"cases": tuple(case for case in described.cases if case.id in ids)}
    )
    settings = RunSettings(epochs=EPOCHS, folds=FOLDS, precision="bf16")
    return train(part, folder, settings, resume=folder.is_dir())


def pair(described: DatasetDescription, case: str) -> tuple[Volume, LabelMap]:
    one = described.case(case)
    return read_case(described, one), read_case_label(described, one)


def judged(
    examiner: Examiner,
    described: DatasetDescription,
    case: str,
    copy: tuple[str, float, int] | None,
) -> Iterator[JudgedMask]:
    """The mask of all networks, then the mask of each."""
    volume, reference = pair(described, case)
    if copy is not None:
        kind, strength, drawn = copy
        volume, label = corrupted(volume, reference, kind, strength=strength, seed=drawn)
        assert label is not None
        reference = label
    opinions = examiner.ask(volume)
    for seen in (examiner.together(opinions), *examiner.alone(opinions)):
        dice = mean_dice(seen.label_map, reference)
        yield JudgedMask(case, copy is not None, evidence_of(seen), dice)


def line(name: str, foretold: Sequence[float], masks: Sequence[JudgedMask]) -> str:
    true = np.array([mask.dice for mask in masks])
    apart = np.array(foretold) - true
    rho = spearmanr(foretold, true).statistic
    return (
        f"| {name} | {len(true)} | {true.mean():.3f} ({true.min():.2f} to {true.max():.2f}) | "
        f"{rho:.2f} | {np.abs(apart).mean():.3f} | {apart.mean():+.3f} |"
    )


def of_new_cases(
    examiner: Examiner, described: DatasetDescription, kept: JudgedMasks
) -> list[Seen]:
    """The 60 cases, half of them as they are."""
    order = [str(case) for case in np.random.default_rng(1).permutation(thirds(described).new)]
    half, found = len(order) // 2, []
    for n, case in enumerate(order):
        copy = None
        if n >= half:
            which = SEVERE if (n - half) % 2 else MILD
            copy = draws(1000 + n - half, COPIES)[which]
        masks = kept.of(f"{case} {copy}", partial(judged, examiner, described, case, copy))
        found.append(Seen(copy[0] if copy else "", masks[0], masks[1:]))
    return found


def told_out_of_fold(masks: Sequence[JudgedMask]) -> FloatArray:
    """The Dice of each mask, foretold by a model of the other four fifths of the cases."""
    cases = sorted({mask.case for mask in masks})
    fifth = {case: n % 5 for n, case in enumerate(cases)}
    told = np.empty(len(masks))
    for n in range(5):
        others = [mask for mask in masks if fifth[mask.case] != n]
        model = fit_quality_model(others, weights_sha256="")
        for at, mask in enumerate(masks):
            if fifth[mask.case] == n:
                told[at] = model.predict(mask.evidence)
    return told


def with_what_was_done(mask: JudgedMask, copy: tuple[str, float, int] | None) -> JudgedMask:
    """A mask whose evidence also holds the kind and the strength of the corruption."""
    done = {kind: copy[1] if copy and copy[0] == kind else 0.0 for kind in CORRUPTIONS}
    evidence = mask.evidence._replace(features={**mask.evidence.features, **done})
    return mask._replace(evidence=evidence)


def by_share(known: Sequence[Sequence[JudgedMask]]) -> None:
    """Half of the cases as they are, half with one copy; print errors by the share of severe ones.

    Args:
        known: Of each case its mask and those of its copies.
    """
    every = [mask for masks in known for mask in masks]
    told = told_out_of_fold(every).reshape(len(known), -1)
    done = [None, *range(COPIES)]
    informed = [
        with_what_was_done(mask, None if copy is None else draws(n, COPIES)[copy])
        for n, masks in enumerate(known)
        for copy, mask in zip(done, masks, strict=True)
    ]
    better = told_out_of_fold(informed).reshape(told.shape)
    true = np.array([mask.dice for mask in every]).reshape(told.shape)
    print("| severe among worse copies | Spearman | mean error | told kind and strength too |")
    print("|--:|--:|--:|--:|")
    rng = np.random.default_rng(0)
    for share in (0.0, 0.1, 0.25, 0.5, 1.0):
        found = []
        for _ in range(MIXTURES):
            case = rng.permutation(len(known))
            mild = rng.integers(1, 1 + SEVERE, len(known))
            copy = np.where(rng.random(len(known)) < share, 1 + SEVERE, mild)
            copy[: len(known) // 2] = 0
            apart = [np.abs(one[case, copy] - true[case, copy]).mean() for one in (told, better)]
            found.append((spearmanr(told[case, copy], true[case, copy]).statistic, *apart))
        rho, error, informed_error = np.mean(found, axis=0)
        print(f"| {share:.0%} | {rho:.2f} | {error:.4f} | {informed_error:.4f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--new-cases", action="store_true")
    chosen = parser.parse_args()
    described, run = open_dataset(chosen.data), chosen.keep / "run"
    network_of: Mapping[str, int | None]
    if chosen.new_cases:
        examiner = Examiner(trained(described, chosen.keep))
        network_of = dict.fromkeys(thirds(described).known)
    else:
        examiner = Examiner(cross_validated(described, run))
        network_of = networks_that_held_out(run)
    kept = JudgedMasks(chosen.keep / "looks.jsonl", examiner.bundle.weights_sha256)
    cases = [
        LabelledCase(case, partial(pair, described, case), network)
        for case, network in sorted(network_of.items())
    ]
    model = calibrate_quality(examiner, cases, kept=kept)
    print(f"Fitted on {model.masks} masks of {model.cases} cases; left-out folds: mean error "
          f"{model.error:.3f}, Spearman {model.correlation:.2f}.")  # fmt: skip
    seen = of_new_cases(examiner, described, kept)
    half = len(seen) // 2
    parts = {
        "as they are": seen[:half], "mildly worse": seen[half::2],
        "severely worse": seen[half + 1 :: 2], "half and half": seen,
    }  # fmt: skip
    print("| what foretells | masks | true Dice | Spearman | mean error | bias |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, some in parts.items():
        masks = [one.together for one in some]
        expected = [mask.evidence.features["expected_dice"] for mask in masks]
        print(line(f"expected Dice, {name}", expected, masks))
        print(line(f"**fitted**, {name}", [one.foretold(model) for one in some], masks))
    if model.judges == "network":
        single = [mask for one in seen for mask in one.alone]
        told = [model.predict(mask.evidence) for mask in single]
        print(line("fitted, masks of single networks", told, single))
    known = [
        (["", *(kind for kind, _, _ in draws(n, COPIES))], kept.of(key_of(case, n), list))
        for n, case in enumerate(cases)
    ]
    for kind in CORRUPTIONS:
        others = [
            mask
            for kinds, masks in known
            for of_mask, mask in zip(kinds, masks, strict=True)
            if of_mask != kind
        ]
        blind = fit_quality_model(others, weights_sha256="", judges=model.judges)
        unknown = [one for one in seen if one.kind == kind]
        if len(unknown) > 2:
            told = [one.foretold(blind) for one in unknown]
            masks = [one.together for one in unknown]
            print(line(f"fitted without {kind}, on {kind}", told, masks))
    by_share([masks for _, masks in known])


if __name__ == "__main__":
    main()
