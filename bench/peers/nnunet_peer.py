"""nnU-Net 2.8.1 for so many CPU seconds: run by time_to_dice.py, with nnU-Net's own environment.

Its own fingerprint, plan, preprocessing, network, augmentation, loss and optimizer. Three changes
make it fair in a short budget: batch 2 (a step costs a quarter), a polynomial rate that reaches 0
with the budget and not after 1000 epochs, and no validation in between. Samples are made in the
process itself, so that its CPU time counts them.

    python -m venv VENV
    VENV/bin/pip install torch==2.13.0 nnunetv2==2.8.1    (torch for CPUs: a CPU build of it)
    VENV/bin/python bench/peers/nnunet_peer.py split.json OUT 240

If `import torchvision` fails for want of torchvision::nms, it was built for another torch: take
`_meta_registrations` out of its __init__.py; nnU-Net does not use it.
"""

import argparse
import json
import os
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

import torch

BATCH, DATASET, CONFIGURATION = 2, "Dataset004_Split", "3d_fullres"
RATE_POWER = 0.9


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    children = getrusage(RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def lay_out(split: dict[str, Any], out: Path) -> None:
    """Make the folders that nnU-Net knows, the training cases in them as links."""
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(out / name)
        (out / name).mkdir(parents=True, exist_ok=True)
    os.environ |= {"nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1", "nnUNet_compile": "false"}
    raw = out / "raw" / DATASET
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True)
    for case in split["training"]:
        (raw / "imagesTr" / f"{case['id']}_0000.nii.gz").symlink_to(case["image"])
        (raw / "labelsTr" / f"{case['id']}.nii.gz").symlink_to(case["label"])
    facts = {
        "channel_names": {"0": split["channel"]},
        "labels": {"background": 0, **split["labels"]},
        "numTraining": len(split["training"]),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(facts))


def prepare(out: Path) -> dict[str, Any]:
    """Fingerprint, plan and preprocessing, by nnU-Net; its plans with batch 2."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    number = int(DATASET[7:10])
    api.extract_fingerprints([number], num_processes=1, show_progress_bar=False)
    api.plan_experiments([number])
    file = out / "preprocessed" / DATASET / "nnUNetPlans.json"
    plans: dict[str, Any] = json.loads(file.read_text())
    plans["configurations"][CONFIGURATION]["batch_size"] = BATCH
    file.write_text(json.dumps(plans, indent=1))
    api.preprocess([number], configurations=(CONFIGURATION,), num_processes=(1,))
    return plans


def trainer_of(plans: dict[str, Any], out: Path, device: str = "cpu", workers: int = 0) -> Any:
    """nnU-Net's default trainer on all training cases; without workers it makes its own samples."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    os.environ.update(nnUNet_n_proc_DA=str(workers))
    facts = json.loads((out / "raw" / DATASET / "dataset.json").read_text())
    plans = plans | {"continue_training": False}
    return nnUNetTrainer(plans, CONFIGURATION, "all", facts, device=torch.device(device))


def train(trainer: Any, seconds: float) -> int:
    """nnU-Net's training steps until the time is over; how many they were."""
    trainer.network.train()
    begin, steps = time.process_time(), 0
    while (share := (time.process_time() - begin) / seconds) < 1:
        for group in trainer.optimizer.param_groups:
            group["lr"] = trainer.initial_lr * (1 - share) ** RATE_POWER
        trainer.train_step(next(trainer.dataloader_train))
        steps += 1
    return steps


def predict(trainer: Any, cases: list[dict[str, str]], folder: Path) -> None:
    """nnU-Net's sliding window, without mirrors."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    folder.mkdir()
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    predictor = nnUNetPredictor(
        use_mirroring=False, device=torch.device("cpu"), verbose=False, allow_tqdm=False
    )
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    predictor.predict_from_files_sequential(
        [[case["image"]] for case in cases], [str(folder / case["id"]) for case in cases]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("split", type=Path, help="the split that time_to_dice.py writes")
    parser.add_argument("out", type=Path, help="folder of masks and record.json")
    parser.add_argument("seconds", type=float, help="CPU seconds of training")
    options = parser.parse_args()
    split = json.loads(options.split.read_text())
    lay_out(split, options.out)
    torch.manual_seed(split["seed"])
    trainer = trainer_of(prepare(options.out), options.out)
    trainer.on_train_start()
    prepared = cpu_seconds()
    steps = train(trainer, options.seconds)
    trained = cpu_seconds()
    predict(trainer, split["unseen"], options.out / "predictions")
    record = {
        "prepare": prepared,
        "train": trained - prepared,
        "steps": steps,
        "predict": cpu_seconds() - trained,
    }
    (options.out / "record.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main()
