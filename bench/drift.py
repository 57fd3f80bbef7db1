"""How soon is a change of the data noticed, and how often is one seen where there is none?

A bundle that has seen a third of the cases; a baseline of another third; windows of 10 cases of the
last third, which neither has seen, as they are and changed in one way each. A threshold is taken
from the baseline alone. Each window is watched case by case: the delay is the number of cases until
the alarm.

    python bench/drift.py Task04_Hippocampus --keep FOLDER [--windows 20] [--chest-ct FILE ...]
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from medseg.continual.corruptions import bias_field, mirrored, powered
from medseg.continual.drift import DriftReport, judge
from medseg.continual.drift_baseline import make_baseline
from medseg.continual.drift_observation import Observation
from medseg.dataset.importers import open_dataset
from medseg.space.resample import grid_at_spacing, resample_volume
from medseg.volume.io import read_volume
from medseg.volume.volume import Volume
from watched import Looks, thirds, trained

Change = Callable[[Volume, np.random.Generator], Volume]


def with_noise(volume: Volume, rng: np.random.Generator, deviations: float = 0.3) -> Volume:
    added = rng.normal(0, deviations * float(volume.array.std()), volume.array.shape)
    return replace(volume, array=(volume.array + added).astype(np.float32))


def with_bias(volume: Volume, rng: np.random.Generator, strength: float = 0.5) -> Volume:
    return bias_field(volume, None, rng, strength)[0]


def thicker(volume: Volume, rng: np.random.Generator) -> Volume:
    i, j, k = volume.spacing_mm
    return resample_volume(volume, grid_at_spacing(volume.geometry, (i, j, 2 * k)))


def thicker_and_back(volume: Volume, rng: np.random.Generator) -> Volume:
    return resample_volume(thicker(volume, rng), volume.geometry)


CHANGES: dict[str, Change] = {
    "noise, 0.3 deviations": with_noise,
    "noise, 0.1 deviations": lambda volume, rng: with_noise(volume, rng, 0.1),
    "gamma 0.6": lambda volume, rng: powered(volume, 0.6),
    "gamma 0.8": lambda volume, rng: powered(volume, 0.8),
    "bias field, up to x1.7": with_bias,
    "bias field, up to x1.3": lambda volume, rng: with_bias(volume, rng, 0.25),
    "slices twice as thick": thicker,
    "the same, header of thin ones": thicker_and_back,
    "left-right flip": lambda volume, rng: mirrored(volume),
}
"""Each change is the same for all cases of a window but for what is drawn."""


def crops_of(ct: Volume, like: Sequence[Volume], rng: np.random.Generator) -> list[Volume]:
    """Parts of a CT, of the size and spacing of other cases: neither gives the modality away."""
    fine = resample_volume(ct, grid_at_spacing(ct.geometry, (1.0, 1.0, 1.0)))
    crops = []
    for one in like:
        size = tuple(min(n, m) for n, m in zip(one.geometry.grid_size, fine.geometry.grid_size,
                                               strict=True))  # fmt: skip
        start = tuple(int(rng.integers(m - n + 1)) for n, m in zip(size, fine.geometry.grid_size,
                                                                   strict=True))  # fmt: skip
        where = tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))
        geometry = one.geometry.cropped((0, 0, 0), (size[0], size[1], size[2]))
        crops.append(Volume(fine.array[(slice(None), *where)], geometry))
    return crops


@dataclass(frozen=True)
class Row:
    """What became of all windows of one change."""

    name: str
    reports: Sequence[DriftReport]

    def line(self) -> str:
        """A row of the table."""
        delays = [r.delay_cases for r in self.reports if r.delay_cases is not None]
        told = f"{np.median(delays):.0f} ({min(delays)} to {max(delays)})" if delays else "-"
        first = [r.moved[0].name for r in self.reports if r.moved]
        names = sorted(set(first), key=lambda name: -first.count(name))[:3]
        return (
            f"| {self.name} | {len(delays)} of {len(self.reports)} | {told} | {', '.join(names)} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=20)
    parser.add_argument("--changed-windows", type=int, default=5)
    parser.add_argument("--chest-ct", type=Path, nargs="*", default=[])
    chosen = parser.parse_args()
    described = open_dataset(chosen.data)
    bundle, parts = trained(described, chosen.keep), thirds(described)
    looks = Looks(bundle, described, chosen.keep)
    usual = [looks.plain(case) for case in parts.known]
    baseline = make_baseline(usual, bundle)
    about = baseline.about
    print(
        f"Thresholds {about.thresholds} from {len(about.cases)} cases; "
        f"windows of {about.window} cases, rate {about.false_alarm_rate:g}."
    )
    rng = np.random.default_rng(1)
    windows = [
        [str(case) for case in rng.permutation(parts.new)[: about.window]]
        for _ in range(chosen.windows)
    ]
    rows = [Row("untouched", [judge([looks.plain(c) for c in w], baseline) for w in windows])]
    few = windows[: chosen.changed_windows]
    for name, change in CHANGES.items():
        rows.append(Row(name, [judge(changed(looks, w, name, change), baseline) for w in few]))
    for ct in chosen.chest_ct:
        seen = [of_ct(looks, w, ct, n) for n, w in enumerate(few)]
        rows.append(Row(f"CT, {ct.name}", [judge(one, baseline) for one in seen]))
    print("| windows of 10 | alarms | delay, cases | moved most |\n|---|--:|--:|---|")
    for row in rows:
        print(row.line())


def changed(looks: Looks, window: Sequence[str], name: str, change: Change) -> list[Observation]:
    slug = "".join(letter if letter.isalnum() else "-" for letter in name)
    found = []
    for case in window:
        found.append(looks.at(f"{case}_{slug}", partial(_changed, looks, case, change)))
    return found


def _changed(looks: Looks, case: str, change: Change) -> Volume:
    return change(looks.volume(case), np.random.default_rng(int(case[-3:])))


def of_ct(looks: Looks, window: Sequence[str], path: Path, number: int) -> list[Observation]:
    names = [f"ct-{path.name}_{number}_{n}" for n in range(len(window))]
    if not all(looks.has(name) for name in names):
        like = [looks.volume(case) for case in window]
        crops = crops_of(read_volume(path), like, np.random.default_rng(number))
        return [
            looks.at(n, partial(lambda x: x, crop)) for n, crop in zip(names, crops, strict=True)
        ]
    return [looks.at(name, lambda: looks.volume(window[0])) for name in names]


if __name__ == "__main__":
    main()
