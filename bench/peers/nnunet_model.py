"""A small model of nnU-Net 2.8.1, trained shortly: run by nnunet_import.py in its environment.

Fingerprint, plan, preprocessing, training and checkpoint are nnU-Net's own; see nnunet_peer.py for
the environment. Its network is made narrow and its training short, so that a CPU can do it; what is
compared is not how well it segments, but whether another program finds the same.

    VENV/bin/python bench/peers/nnunet_model.py split.json OUT 3d_fullres 240
"""

import argparse
import json
from pathlib import Path

import nnunet_peer as peer
import torch

WIDEST, FIRST = 128, 16
BATCHES = {"2d": 16, "3d_fullres": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("split", type=Path, help="training cases, as peers/unseen.py writes them")
    parser.add_argument("out", type=Path, help="folder of nnU-Net's raw, preprocessed and results")
    parser.add_argument("configuration", choices=sorted(BATCHES))
    parser.add_argument("seconds", type=float, help="CPU seconds of training")
    options = parser.parse_args()
    peer.CONFIGURATION, peer.BATCH = options.configuration, BATCHES[options.configuration]
    split = json.loads(options.split.read_text())
    peer.lay_out(split, options.out)
    torch.manual_seed(split["seed"])
    plans = peer.prepare(options.out)
    settings = plans["configurations"][options.configuration]["architecture"]["arch_kwargs"]
    stages = settings["n_stages"]
    settings["features_per_stage"] = [min(WIDEST, FIRST << n) for n in range(stages)]
    file = options.out / "preprocessed" / peer.DATASET / "nnUNetPlans.json"
    file.write_text(json.dumps(plans, indent=1))
    trainer = peer.trainer_of(plans, options.out)
    trainer.on_train_start()
    steps = peer.train(trainer, options.seconds)
    trainer.save_checkpoint(str(Path(trainer.output_folder, "checkpoint_final.pth")))
    print(f"{steps} steps; model: {trainer.output_folder_base}")


if __name__ == "__main__":
    main()
