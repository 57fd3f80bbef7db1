"""What a page of plain torch reaches: the yardstick beside medseg in time_to_dice.py.

A 3D U-Net of width 16 with 4 levels, batch 2, AdamW with a cosine to the end of the budget,
averaged weights, Dice + cross-entropy with deep supervision, one fused warp (affine, bending,
mirror) and gamma. It takes single-channel volumes that are about as large as a patch and have one
spacing, such as the hippocampus of the Medical Segmentation Decathlon. The budget counts CPU
seconds from the start of the process.

    python bench/peers/prototype.py split.json OUT 240
"""

import argparse
import copy
import itertools
import json
import math
import time
from pathlib import Path

from medseg.allocator import keep_freed_memory

keep_freed_memory()

import nibabel as nib  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402

PATCH, BATCH, WIDTH, LEVELS = (40, 56, 40), 2, 16, 4
RATE, DECAY, WARMUP_SHARE = 2e-3, 0.995, 0.03


def convolutions(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n, step in ((inputs, stride), (outputs, 1)):
        layers += [nn.Conv3d(n, outputs, 3, step, 1), nn.InstanceNorm3d(outputs, affine=True)]
        layers.append(nn.LeakyReLU(0.01, inplace=True))
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Logits of the three finest levels, finest first."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = [WIDTH * 2**n for n in range(LEVELS)]
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList([convolutions(1, WIDTH), *(convolutions(*p, 2) for p in pairs)])
        self.up = nn.ModuleList([nn.ConvTranspose3d(b, a, 2, 2) for a, b in reversed(pairs)])
        self.join = nn.ModuleList([convolutions(2 * a, a) for a, _ in reversed(pairs)])
        self.heads = nn.ModuleList([nn.Conv3d(a, classes, 1) for a, _ in reversed(pairs)])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Each level of the way up has a head."""
        skips: list[Tensor] = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        logits, skips = [], skips[-2::-1]
        for up, join, head, skip in zip(self.up, self.join, self.heads, skips, strict=True):
            x = join(torch.cat([up(x), skip], 1))
            logits.append(head(x))
        return logits[::-1]


def loss(logits: list[Tensor], labels: Tensor) -> Tensor:
    total = torch.zeros(())
    for n, scale in enumerate(logits):
        truth = labels[:, :: 2**n, :: 2**n, :: 2**n]
        hot = F.one_hot(truth, scale.shape[1]).movedim(-1, 1)[:, 1:]
        soft = scale.softmax(1)[:, 1:]
        sums = [x.flatten(2).sum(-1) for x in (soft * hot, soft, hot)]
        dice = ((2 * sums[0] + 1e-5) / (sums[1] + sums[2] + 1e-5)).mean()
        total = total + 0.5**n * (F.cross_entropy(scale, truth) + 1 - dice)
    return total / sum(0.5**n for n in range(len(logits)))


def sample(image: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """One patch: crop, rotation, scale, bending and left-right mirror in one warp; then gamma."""
    size = np.array(image.shape)
    matrix = np.diag([rng.choice([-1.0, 1.0]), 1.0, 1.0])
    if rng.random() < 0.4:
        matrix *= rng.uniform(0.75, 1.3)
        for first, second in ((0, 1), (0, 2), (1, 2)):
            angle, turn = rng.uniform(-0.35, 0.35), np.eye(3)
            turn[[first, second], [first, second]] = math.cos(angle)
            turn[first, second], turn[second, first] = math.sin(angle), -math.sin(angle)
            matrix = turn @ matrix
    room = np.maximum(size - PATCH, 0) / 2
    middle = (size - 1) / 2 + rng.uniform(-room, room)
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in PATCH]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) @ torch.tensor(matrix).float().T
    if rng.random() < 0.3:
        knots = torch.tensor(rng.normal(0, 2.0, (1, 3, 5, 5, 5)), dtype=torch.float32)
        bend = F.interpolate(knots, PATCH, mode="trilinear", align_corners=True)
        grid = grid + bend[0].movedim(0, -1)
    grid = (grid + torch.tensor(middle).float()) * torch.tensor(2 / (size - 1)).float() - 1
    grid = grid.flip(-1)[None]  # grid_sample counts axes from the last
    out = F.grid_sample(image[None, None], grid, align_corners=True)[0]
    mask = F.grid_sample(labels[None, None].float(), grid, mode="nearest", align_corners=True)[0, 0]
    if rng.random() < 0.3:
        low, high = out.aminmax()
        out = ((out - low) / (high - low)) ** rng.uniform(0.7, 1.5) * (high - low) + low
    return out, mask.long()


def read(path: str) -> Tensor:
    return torch.tensor(np.asarray(nib.load(path).dataobj, np.float32))


def normalised(path: str) -> Tensor:
    image = read(path)
    return (image - image.mean()) / image.std()


def train(cases: list[dict[str, str]], classes: int, seconds: float, seed: int) -> tuple[UNet, int]:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    data = [(normalised(case["image"]), read(case["label"]).round().long()) for case in cases]
    network = UNet(classes)
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-2, fused=True)
    begin, steps = time.process_time(), 0
    while (now := time.process_time()) < seconds:
        share = (now - begin) / (seconds - begin)
        warm = min(1.0, (share + 1e-3) / WARMUP_SHARE)
        optimizer.param_groups[0]["lr"] = RATE * warm * 0.5 * (1 + math.cos(math.pi * share))
        drawn = [sample(*data[rng.integers(len(data))], rng) for _ in range(BATCH)]
        loss(
            network(torch.stack([x for x, _ in drawn])), torch.stack([y for _, y in drawn])
        ).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 12.0)
        optimizer.step()
        optimizer.zero_grad()
        steps += 1
        kept = 1 - min(DECAY, (1 + steps) / (10 + steps))
        weights = [weight.detach() for weight in network.parameters()]
        torch._foreach_lerp_(list(average.parameters()), weights, kept)
    return average, steps


def predict(network: UNet, path: str, out: Path) -> None:
    """The whole volume at once, and once more mirrored left to right."""
    image = normalised(path)
    pad = [m for n in reversed(image.shape) for m in (0, -n % 2 ** (LEVELS - 1))]
    whole = F.pad(image[None, None], pad)
    soft = network(whole)[0].softmax(1) + network(whole.flip(2))[0].softmax(1).flip(2)
    i, j, k = image.shape
    mask = soft[0].max(0).indices[:i, :j, :k].numpy().astype(np.uint8)
    nib.save(nib.Nifti1Image(mask, nib.load(path).affine), out)


@torch.no_grad()
def predict_all(network: UNet, cases: list[dict[str, str]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for case in cases:
        predict(network, case["image"], folder / f"{case['id']}.nii.gz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("split", type=Path, help="the split that time_to_dice.py writes")
    parser.add_argument("out", type=Path, help="folder of masks and record.json")
    parser.add_argument("seconds", type=float, help="CPU seconds of the process until trained")
    options = parser.parse_args()
    split = json.loads(options.split.read_text())
    network, steps = train(
        split["training"], len(split["labels"]) + 1, options.seconds, split["seed"]
    )
    record = {"prepare": 0.0, "train": time.process_time(), "steps": steps}
    predict_all(network, split["unseen"], options.out / "predictions")
    record["predict"] = time.process_time() - record["train"]
    (options.out / "record.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main()
