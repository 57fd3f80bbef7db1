"""Steps of nnU-Net's own trainer, timed: run by train_step.py, with nnU-Net's own environment.

Its plan with another patch and batch, its loader and augmentation in the process itself, its loss
and optimizer. `nnunet_peer.py` says how the environment is made.

    VENV/bin/python bench/peers/nnunet_step.py split.json OUT --batch 2 --patch 40 56 40 --steps 8
"""

import argparse
import json
import os
import time
from pathlib import Path
from statistics import median
from typing import Any

import nnunet_peer
import torch


def prepared(out: Path, batch: int, patch: list[int]) -> dict[str, Any]:
    """Fingerprint, plan and preprocessing by nnU-Net, then the patch and the batch that count."""
    plans = nnunet_peer.prepare(out)
    configuration = plans["configurations"][nnunet_peer.CONFIGURATION]
    configuration.update(batch_size=batch, patch_size=patch)
    return plans


def timed(trainer: Any, steps: int, device: str) -> dict[str, float]:
    """Seconds of the median step after two that warm up, and of its batch.

    CPU seconds; on a GPU wall seconds, where the batch is what the step waits for. nnU-Net's step
    ends by reading the loss, and so when the card has done it.
    """
    clock = time.process_time if device == "cpu" else time.perf_counter
    trainer.network.train()
    loading, learning = [], []
    for _ in range(steps + 2):
        begin = clock()
        batch = next(trainer.dataloader_train)
        loaded = clock()
        trainer.train_step(batch)
        loading.append(loaded - begin)
        learning.append(clock() - loaded)
    whole = [sum(pair) for pair in zip(loading[2:], learning[2:], strict=True)]
    # Samples differ in what is drawn for them, so of the loader it is the mean that counts.
    return {"step": median(whole), "loader": sum(loading[2:]) / steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("split", type=Path, help="the cases, as train_step.py writes them")
    parser.add_argument("out", type=Path, help="folder of nnU-Net's files and record.json")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--patch", type=int, nargs=3, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    split = json.loads(options.split.read_text())
    nnunet_peer.lay_out(split, options.out)
    torch.manual_seed(split["seed"])
    plans = prepared(options.out, options.batch, options.patch)
    workers = 0 if options.device == "cpu" else os.cpu_count() or 1
    trainer = nnunet_peer.trainer_of(plans, options.out, options.device, workers)
    trainer.on_train_start()
    record = timed(trainer, options.steps, options.device)
    record["weights"] = sum(weight.numel() for weight in trainer.network.parameters())
    if workers:
        for loader in (trainer.dataloader_train, trainer.dataloader_val):
            loader._finish()  # its workers would not let this process end
    (options.out / "record.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main()
