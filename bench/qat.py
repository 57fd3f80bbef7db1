"""What quantisation-aware training brings back of the Dice that INT8 costs.

Networks that `bench/networks.py` left are quantised after their training, and judged on every
second case that none of them saw: the one that INT8 costs most is chosen. From its weights it is
trained on twice, for the same steps and from the same seed: between the grids of INT8, and as it
was, since training alone changes Dice too. Both, and the weights they began with, are judged on
the other unseen cases, in float and in INT8. So the choice owes nothing to the cases that judge it.

What INT8 costs the weights that were trained on as they were is what there is to recover; what it
costs those that were trained for it, against the same weights in float, is what is left.

Each row is written when it is done; the same command goes on where it was interrupted.

    python bench/qat.py ../shared/data/Task04_Hippocampus --networks nets --keep qat [--steps 300]
"""

import argparse
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medseg.bundle import Bundle, load_bundle, save_bundle
from medseg.compression.export import ExportSettings, export
from medseg.compression.patches import TrialData
from medseg.compression.qat import Schooling, between_grids, trained_on
from medseg.compression.standings import standings
from medseg.dataset.description import DatasetDescription
from medseg.dataset.importers import open_dataset
from medseg.errors import MedsegError
from medseg.inference.predict import Predictor
from medseg.metrics.paired import gain_of
from medseg.networks.start import Start

KINDS = (
    "plain_unet", "lite", "resenc_unet", "unet", "unet3d", "attention_unet", "mednext", "unetr",
    "transunet", "swin_unetr",
)  # fmt: skip

Dice = dict[str, list[float]]


class Bench:
    """All networks over one data set.

    Args:
        data: The data set.
        keep: Folder of bundles and results.
        target: The runtime.
    """

    def __init__(self, data: DatasetDescription, keep: Path, target: str) -> None:
        self.data, self.keep, self.target = data, keep, target
        self.path = keep / f"qat_{target}.json"
        self.rows: dict[str, Dice] = {}
        if self.path.is_file():
            self.rows = json.loads(self.path.read_text())

    def record(self, name: str, dice: Dice) -> None:
        """Keep a row."""
        self.rows[name] = dice
        self.path.write_text(json.dumps(self.rows, indent=1))

    def judged(self, name: str, bundle: Bundle, cases: Sequence[str]) -> Dice:
        """Dice of each case in float, and in INT8."""
        folder = self.keep / f"{name}_{self.target}"
        shutil.rmtree(folder, ignore_errors=True)
        saved = save_bundle(bundle, folder)
        export(saved, ExportSettings(self.target, "int8", cases=0), data=self.data)
        models = {
            "float": Predictor(saved, engine="torch", device="cpu", precision="fp32"),
            "int8": Predictor(saved, engine=self.target, precision="int8"),
        }
        found = standings(models, self.data, cases)
        return {one.name: list(one.case_dice) for one in found}

    def scan(self, bundles: Mapping[str, Path]) -> str:
        """The network that INT8 costs most, by every second of its unseen cases."""
        for name, folder in bundles.items():
            if name in self.rows:
                continue
            bundle = load_bundle(folder)
            try:
                dice = self.judged(name, bundle, TrialData(bundle, self.data).judging[::2])
            except MedsegError as error:
                print(f"{name}: {error}", flush=True)
                dice = {}
            self.record(name, dice)
            if dice:
                print(f"{name}: {gain(dice, 'int8', 'float')}", flush=True)
        judged = {name: self.rows[name] for name in bundles if self.rows[name]}
        return min(judged, key=lambda name: np.mean(difference(judged[name], "int8", "float")))

    def schooled(self, chosen: str, folder: Path, steps: int) -> Dice:
        """Six columns of Dice on the other half of the unseen cases."""
        key = f"{chosen}, {steps} steps"
        if key in self.rows:
            return self.rows[key]
        bundle = load_bundle(folder)
        trial, (configuration,) = TrialData(bundle, self.data), bundle.configurations
        columns: Dice = {}
        start = Start(configuration.plan.network, configuration.members[0])
        for way in ("as it was", "trained on", "trained for INT8"):
            schooling = Schooling(self.keep / way.replace(" ", "_"), time.monotonic, steps, "cpu")
            shutil.rmtree(schooling.folder, ignore_errors=True)
            weights: Mapping[str, Tensor] = configuration.members[0]
            match way:
                case "trained on":
                    weights = trained_on(trial, configuration, 0, start, schooling, end=0).weights
                case "trained for INT8":
                    grids = between_grids(trial, configuration, 0, self.target)
                    weights = trained_on(trial, configuration, 0, grids, schooling, end=0).weights
            changed = replace(bundle, members=(weights,), folder=None, weights_sha256="")
            dice = self.judged(way.replace(" ", "_"), changed, trial.judging[1::2])
            columns |= {f"{way}, {kind}": values for kind, values in dice.items()}
            print(f"{way}: {gain(dice, 'int8', 'float')}", flush=True)
        self.record(key, columns)
        return columns


def difference(dice: Dice, one: str, other: str) -> "np.typing.NDArray[np.float64]":
    return np.subtract(dice[one], dice[other])


def gain(dice: Dice, one: str, other: str) -> str:
    """Mean of a paired difference with its interval."""
    found = gain_of(difference(dice, one, other))
    return f"{found.mean:+.4f} ({found.ci_low:+.4f} to {found.ci_high:+.4f})"


def table(dice: Dice) -> str:
    """Float and INT8 of three sets of weights, and the share of the loss that came back."""
    lines = ["| weights | float | INT8 | INT8 costs (95 %) |", "|---|--:|--:|--:|"]
    for way in ("as it was", "trained on", "trained for INT8"):
        means = [np.mean(dice[f"{way}, {kind}"]) for kind in ("float", "int8")]
        cost = gain(dice, f"{way}, int8", f"{way}, float")
        lines.append(f"| {way} | {means[0]:.4f} | {means[1]:.4f} | {cost} |")
    losses = [
        np.mean(difference(dice, f"{way}, float", f"{way}, int8"))
        for way in ("trained on", "trained for INT8")
    ]
    lines.append(
        f"\nrecovered: {1 - losses[1] / losses[0]:.0%} of {losses[0]:.4f}; in INT8, trained for it "
        f"less trained on: {gain(dice, 'trained for INT8, int8', 'trained on, int8')}"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--networks", type=Path, required=True)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--target", choices=("openvino", "onnx"), default="openvino")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    parser.add_argument("--only-scan", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.keep.mkdir(parents=True, exist_ok=True)
    bench = Bench(open_dataset(asked.data), asked.keep, asked.target)
    bundles = {
        folder.parent.parent.name: folder
        for kind in asked.kinds
        for folder in sorted(asked.networks.glob(f"{kind}_[0-9]/run/bundle"))
    }
    chosen = bench.scan(bundles)
    print(f"chosen: {chosen}, {gain(bench.rows[chosen], 'int8', 'float')}", flush=True)
    if not asked.only_scan:
        print(table(bench.schooled(chosen, bundles[chosen], asked.steps)))


if __name__ == "__main__":
    main()
