"""How many patches a second does a core train on, what of medseg makes it so, and beside nnU-Net.

The network is the one that nnU-Net plans for the hippocampus (four stages, 32 to 256 features), on
the same cases, patch and batch, with the same kinds and probabilities of augmentation, one thread.
Each setting runs in a process of its own: first nnU-Net's own trainer, then medseg's learner and
loader, with its parts switched one by one. Figures count CPU seconds, so that a busy machine costs
little; the loader is in the same process and so in the figures. "Limit" is the speed of a large
matrix product or a wide convolution, the faster of them, in the arithmetic of the row. With
`--device cuda` seconds are wall seconds of a card, batches are made by as many threads as there are
cores, and "loader" is what the card waits for them.

    python bench/train_step.py ../shared/data/Task04_Hippocampus --nnunet-python VENV/bin/python
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from typing import Any

HERE = Path(__file__).parent
PATCH, FEATURES = (40, 56, 40), (32, 64, 128, 256)
CASES = 20
Clock = Callable[[], float]
WARM_UP = 2


@dataclass(frozen=True)
class Setting:
    """How medseg trains in one row.

    Attributes:
        name: What the row is called.
        keep: Whether the allocator keeps its memory.
        precision: Arithmetic.
        optimizer: As in a recipe.
        channels_last: Whether features lie innermost.
        compiled: Whether inductor compiles the network.
    """

    name: str
    keep: bool = True
    precision: str = "fp32"
    optimizer: str = "sgd"
    channels_last: bool = False
    compiled: bool = False


SETTINGS: dict[str, tuple[Setting, ...]] = {
    "cpu": (
        Setting("medseg, fp32, glibc's allocator", keep=False),
        Setting("+ memory kept"),
        Setting("+ channels last", channels_last=True),
        Setting("+ compiled", compiled=True),
        Setting("+ bf16", precision="bf16"),
        Setting("+ bf16, channels last", precision="bf16", channels_last=True),
        Setting("+ bf16, compiled", precision="bf16", compiled=True),
        Setting("+ bf16, Muon (as medseg trains here)", precision="bf16", optimizer="muon"),
    ),
    "cuda": (
        Setting("medseg, eager, fp16 and scaled gradients", precision="fp16"),
        Setting("bf16", precision="bf16"),
        Setting("bf16, channels last", precision="bf16", channels_last=True),
        Setting("bf16, compiled", precision="bf16", compiled=True),
        Setting("bf16, channels last, compiled", True, "bf16", "sgd", True, True),
        Setting("bf16, Muon (as medseg trains on a GPU)", precision="bf16", optimizer="muon"),
    ),
}


def plan_of(dataset: Path, batch: int) -> Any:
    """Medseg's plan for the cases with the network, patch, batch and recipe of the comparison."""
    from medseg.dataset.fingerprint import take_fingerprint
    from medseg.dataset.plan import make_plan
    from medseg.specs import AugmentSpec, Budget, PlainUNetSpec

    described = few(dataset)
    plan = make_plan(take_fingerprint(described), Budget(epochs=1, memory_bytes=8 << 30, gflops=1))
    network = PlainUNetSpec(
        dims=3,
        in_channels=len(plan.channels),
        classes=len(plan.labels) + 1,
        features=FEATURES,
        kernels=((3, 3, 3),) * 4,
        strides=((1, 1, 1), *((2, 2, 2),) * 3),
        encoder_convs=(2,) * 4,
        decoder_convs=(2,) * 3,
    )
    recipe = plan.recipe.model_copy(update={"batch_size": batch, "ema_decay": 0.0})
    changed = {"network": network, "patch_size": PATCH, "augment": AugmentSpec(), "recipe": recipe}
    return plan.model_copy(update=changed)


def few(dataset: Path) -> Any:
    """The first cases of a data set."""
    from medseg.dataset.importers import open_dataset

    described = open_dataset(dataset)
    return described.model_copy(update={"cases": described.cases[:CASES], "unlabelled": ()})


def clock_of(device: str) -> Clock:
    """CPU seconds of this process; on a GPU wall seconds, when all that was asked of it is done."""
    if device == "cpu":
        return time.process_time
    import torch

    def now() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return now


def child(setting: Setting, folder: Path, steps: int, device: str) -> dict[str, float]:
    """Train a few steps in this process, and say what each part of them took."""
    if setting.keep:
        from medseg.allocator import keep_freed_memory

        if not keep_freed_memory():
            sys.exit("This is no glibc: its allocator cannot be told to keep memory.")
    import torch

    from medseg.dataset.cost import training_gflop
    from medseg.dataset.plan import load_plan
    from medseg.dataset.store import Store
    from medseg.training.data import Batches
    from medseg.training.module import Learner

    clock = clock_of(device)

    class Timed(Learner):
        """Notes what forward pass, loss and backward pass take together."""

        network_seconds = 0.0

        def _own_gradients(self, image: Any, labels: Any) -> Any:
            if setting.channels_last:
                image = image.contiguous(memory_format=torch.channels_last_3d)
            begin = clock()
            found = super()._own_gradients(image, labels)
            self.network_seconds = clock() - begin
            return found

    if device == "cpu":
        torch.set_num_threads(1)
    workers = 0 if device == "cpu" else os.cpu_count() or 1
    plan = load_plan(folder / "plan.json")
    changed = {"optimizer": setting.optimizer, "ema_decay": 0.99 * (setting.optimizer == "muon")}
    plan = plan.model_copy(update={"recipe": plan.recipe.model_copy(update=changed)})
    learner = Timed(plan, device=device, precision=setting.precision, seed=0)
    if setting.channels_last:
        learner._network.to(memory_format=torch.channels_last_3d)
    if setting.compiled:
        learner._network.compile(dynamic=False)
    store = Store(folder / "store")
    rows = []
    with Batches(store, store.ids, plan, seed=0).starting_at(0, workers=workers) as feed:
        start = clock() + children_seconds()
        for n in range(steps + WARM_UP):
            begin = clock()
            batch = next(feed)
            loaded = clock()
            learner.step(batch, 1e-3)
            end = clock()
            rows.append((end - begin, loaded - begin, learner.network_seconds))
            if n == 0:
                first = clock() + children_seconds() - start
    timed = rows[WARM_UP:]
    return {
        "step": median(row[0] for row in timed),
        "loader": sum(row[1] for row in timed) / steps,
        "network": median(row[2] for row in timed),
        "first": first,
        "gflop": training_gflop(plan.network, plan.patch_size, plan.recipe.batch_size),
        "limit": limit_gflops(setting.precision, device, clock),
        "weights": sum(weight.numel() for weight in learner._network.parameters()),
    }


def card_name() -> str:
    """What the graphics card is called."""
    import torch

    return torch.cuda.get_device_name()


def children_seconds() -> float:
    """CPU seconds of processes that this one started and that have ended."""
    usage = getrusage(RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def limit_gflops(precision: str, device: str, clock: Clock) -> float:
    """The fastest that this core or card multiplies: a large matrix product or a wide convolution.

    Two libraries compute them (MKL and oneDNN), and not each knows each processor.
    """
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    edge, width, grid = (2048, 128, 24) if device == "cpu" else (8192, 256, 64)
    first, second, image, kernel = (
        torch.randn(*shape, device=device, dtype=dtype)
        for shape in [
            (edge, edge),
            (edge, edge),
            (1, width, grid, grid, grid),
            (width, width, 3, 3, 3),
        ]
    )
    products = {
        2 * edge**3: lambda: torch.mm(first, second),
        2 * 27 * width * image.numel(): lambda: torch.conv3d(image, kernel, padding=1),
    }
    speeds = []
    for flop, product in products.items():
        for _ in range(5):
            begin = clock()
            product()
            speeds.append(flop / (clock() - begin) / 1e9)
    return max(speeds)


def run(words: list[Any], device: str, environment: Mapping[str, str]) -> str:
    """What a process prints."""
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"} if device == "cpu" else {}
    done = subprocess.run(
        [str(word) for word in words],
        env=os.environ | threads | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{words} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def nnunet(
    options: argparse.Namespace, folder: Path, batch: int, steps: int, extra: dict[str, str]
) -> dict[str, float]:
    """The same steps by nnU-Net."""
    with tempfile.TemporaryDirectory() as temporary:
        words: list[Any] = [options.nnunet_python, HERE / "peers" / "nnunet_step.py"]
        words += [folder / "split.json", temporary, "--batch", batch, "--steps", steps]
        words += ["--patch", *PATCH, "--device", options.device]
        run(words, options.device, extra)
        record: dict[str, float] = json.loads((Path(temporary) / "record.json").read_text())
    return record


def write_split(dataset: Path, folder: Path) -> None:
    """The cases as nnU-Net's script reads them."""
    described = few(dataset)
    facts = {
        "labels": {label.name: label.value for label in described.labels},
        "channel": described.channels[0].modality or described.channels[0].name,
        "seed": 0,
        "training": [
            {"id": case.id, "image": str(case.images[0]), "label": str(case.label)}
            for case in described.cases
        ],
    }
    (folder / "split.json").write_text(json.dumps(facts))


def line(name: str, found: Mapping[str, float], batch: int, reference: float | None) -> str:
    """One setting as a line of the table."""
    speed = batch / found["step"]
    outside = limit = gflops = "-"
    if "network" in found:
        outside = f"{1 - found['network'] / found['step']:.0%}"
        reached = found["gflop"] / found["network"]
        gflops, limit = f"{reached:.0f}", f"{reached / found['limit']:.0%}"
    first = f"{found['first'] - found['step']:.0f} s" if "compiled" in name else "-"
    ratio = "-" if reference is None else f"{speed / reference:.2f}x"
    return (
        f"| {batch} | {name} | {found['step']:.3f} | {speed:.2f} | {ratio} | "
        f"{found['loader'] / found['step']:.1%} | {outside} | {gflops} | {limit} | {first} |"
    )


def compare(options: argparse.Namespace, folder: Path, batch: int) -> None:
    """All settings at one batch size."""
    from medseg.dataset.plan import save_plan
    from medseg.dataset.store import Store

    plan = plan_of(options.dataset, batch)
    save_plan(plan, folder / "plan.json")
    Store.build(folder / "store", few(options.dataset), plan, workers=1)
    steps = max(3, round(options.patches / batch))
    reference = None
    if options.nnunet_python:
        from time_to_dice import KEEP_MEMORY

        write_split(options.dataset, folder)
        peers = {"nnU-Net": {}}
        if options.device == "cpu":
            peers["nnU-Net, memory kept"] = KEEP_MEMORY
        for name, extra in peers.items():
            found = nnunet(options, folder, batch, steps, extra)
            reference = reference or batch / found["step"]
            print(line(name, found, batch, reference), flush=True)
    for setting in SETTINGS[options.device]:
        if options.only and setting.name not in options.only:
            continue
        words = [sys.executable, __file__, "--child", json.dumps(asdict(setting))]
        words += ["--folder", folder, "--steps", steps, "--device", options.device]
        cache = {"TORCHINDUCTOR_CACHE_DIR": str(folder / f"inductor-{batch}-{setting.precision}")}
        cache["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
        print(
            line(setting.name, json.loads(run(words, options.device, cache)), batch, reference),
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = HERE.parent.parent / "shared" / "data" / "Task04_Hippocampus"
    parser.add_argument("dataset", type=Path, nargs="?", default=default)
    parser.add_argument("--batch", type=int, nargs="+", default=[2, 9])
    parser.add_argument("--patches", type=int, default=24, help="that are timed in each setting")
    parser.add_argument("--nnunet-python", type=Path, help="interpreter that has nnunetv2")
    parser.add_argument("--only", nargs="+", help="rows of medseg to measure, by name")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        setting = Setting(**json.loads(options.child))
        print(json.dumps(child(setting, options.folder, options.steps, options.device)))
        return
    from medseg.training.probe import processor_name

    options.dataset = options.dataset.resolve()
    where = f"{processor_name()}, one thread" if options.device == "cpu" else card_name()
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {where}, Python "
        f"{platform.python_version()}, torch {version('torch')}, medseg {version('medseg')}\n"
    )
    names = ["batch", "setting", "s a step", "patches/s", "to nnU-Net", "loader"]
    names += ["outside the network", "GFLOP/s", "of the limit", "compiling"]
    print(f"| {' | '.join(names)} |\n|--:|---{'|--:' * (len(names) - 2)}|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for batch in options.batch:
            compare(options, Path(temporary), batch)


if __name__ == "__main__":
    main()
