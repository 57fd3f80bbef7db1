"""How many augmented samples a second does one core make, with nnU-Net's default probabilities?

    taskset -c 0 python bench/augment.py [--seconds 5]

Each contender cuts patches out of one case in memory, at the same places, and changes them by its
own transforms with nnU-Net's ranges and probabilities. A peer that is not installed says so:
`pip install batchgeneratorsv2 monai torchio`. Figures count CPU seconds, warm.

The second table asks what the label vote costs and gains: a finely drawn ball is turned by an angle
and back, and the Dice with itself is printed, by vote and by the nearest voxel.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import numpy as np
import torch
from scipy import ndimage

from medseg.specs import AugmentSpec
from medseg.transforms.augment import AugmentParams, Move, apply, draw, region

PATCHES = ((40, 56, 40), (96, 96, 96), (512, 512, 1))
TARGETS = {(40, 56, 40): 279.0, (96, 96, 96): 39.0}
MOVED = 1 - 0.8 * 0.8
"""Probability that rotation or scale is drawn."""

Sampler = Callable[[], object]


class Case:
    """A noisy image with three nested structures, and boxes of it padded with zeros."""

    def __init__(self, patch: tuple[int, int, int]) -> None:
        self.patch = patch
        self.size = tuple(n * 3 // 2 if n > 1 else 1 for n in patch)
        axes = (np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in self.size)
        away = np.sqrt(sum(x**2 for x in np.meshgrid(*axes, indexing="ij")))
        self.labels = np.digitize(-away, (-0.6, -0.4, -0.2)).astype(np.uint8)
        noise = np.random.default_rng(0).normal(0, 0.5, self.size)
        self.image = (self.labels + noise).astype(np.float32)[None]
        self.generator = np.random.default_rng(1)

    def centre(self) -> tuple[int, int, int]:
        """The middle of a patch that lies inside."""
        room = [n - p for n, p in zip(self.size, self.patch, strict=True)]
        i, j, k = (
            int(self.generator.integers(r + 1)) + p // 2
            for r, p in zip(room, self.patch, strict=True)
        )
        return i, j, k

    def read(self, start: tuple[int, ...], size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """One box, 0 outside the case."""
        image, labels = np.zeros((1, *size), np.float32), np.zeros(size, np.uint8)
        ends = [min(s + n, e) for s, n, e in zip(start, size, self.size, strict=True)]
        here = tuple(slice(max(s, 0), e) for s, e in zip(start, ends, strict=True))
        there = tuple(slice(h.start - s, h.stop - s) for h, s in zip(here, start, strict=True))
        image[(slice(None), *there)] = self.image[(slice(None), *here)]
        labels[there] = self.labels[here]
        return image, labels

    def around(self, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """A box of `size` about a random centre."""
        return self.read(tuple(c - n // 2 for c, n in zip(self.centre(), size, strict=True)), size)


def ours(case: Case) -> Sampler:
    generator = np.random.default_rng(2)
    degrees = (0.0, 0.0, 180.0) if case.patch[2] == 1 else (30.0, 30.0, 30.0)
    spec = AugmentSpec(rotation_degrees=degrees)

    def sample() -> object:
        params = draw(spec, case.patch, (1.0, 1.0, 1.0), generator)
        return apply(*case.read(*region(params, case.centre(), case.patch)), params, case.patch)

    return sample


def enlarged(patch: tuple[int, int, int]) -> tuple[int, int, int]:
    """What nnU-Net loads so that rotation (30 degrees) and scale (0.85) do not leave the box."""
    if patch[2] == 1:
        side = int(max(patch) * 2**0.5 / 0.85)
        return side, side, 1
    turned = np.array(patch, float)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
        a, b = patch[first], patch[second]
        turned[first] = max(turned[first], c * a + s * b)
        turned[second] = max(turned[second], s * a + c * b)
    i, j, k = (turned / 0.85).astype(int).tolist()
    return i, j, k


def batchgenerators(case: Case) -> Sampler:
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
    from batchgeneratorsv2.transforms.utils.random import RandomTransform

    flat = case.patch[2] == 1
    patch = case.patch[:2] if flat else case.patch
    angle = np.pi if flat else np.pi / 6
    span = BGContrast((0.75, 1.25))
    each = {"synchronize_channels": False, "p_per_channel": 1}
    gamma = {"gamma": BGContrast((0.7, 1.5)), "p_retain_stats": 1} | each
    steps = ComposeTransforms(
        [
            SpatialTransform(
                patch,
                patch_center_dist_from_border=0,
                random_crop=False,
                p_rotation=0.2,
                rotation=(-angle, angle),
                p_scaling=0.2,
                scaling=(0.7, 1.4),
                p_synchronize_scaling_across_axes=1,
                mode_seg="nearest",
            ),
            RandomTransform(GaussianNoiseTransform((0, 0.1), 1, True), 0.1),
            RandomTransform(
                GaussianBlurTransform((0.5, 1.0), False, False, p_per_channel=0.5, benchmark=True),
                0.2,
            ),
            RandomTransform(MultiplicativeBrightnessTransform(span, **each), 0.15),
            RandomTransform(ContrastTransform(span, preserve_range=True, **each), 0.15),
            RandomTransform(
                SimulateLowResolutionTransform(
                    scale=(0.5, 1),
                    synchronize_channels=False,
                    synchronize_axes=True,
                    ignore_axes=(),
                    p_per_channel=0.5,
                ),
                0.25,
            ),
            RandomTransform(GammaTransform(p_invert_image=1, **gamma), 0.1),
            RandomTransform(GammaTransform(p_invert_image=0, **gamma), 0.3),
            MirrorTransform(allowed_axes=tuple(range(len(patch)))),
        ]
    )

    def sample() -> object:
        image, labels = case.around(enlarged(case.patch))
        tensors = torch.from_numpy(image), torch.from_numpy(labels[None].astype(np.int16))
        if flat:
            tensors = tensors[0][..., 0], tensors[1][..., 0]
        return steps(image=tensors[0], segmentation=tensors[1])

    return sample


def monai(case: Case) -> Sampler:
    from monai import transforms as t

    flat = case.patch[2] == 1
    patch = case.patch[:2] if flat else case.patch
    angle = np.pi if flat else np.pi / 6
    both, modes = ["image", "label"], ["bilinear", "nearest"]
    steps = t.Compose(
        [
            t.RandAffined(
                both,
                spatial_size=patch,
                prob=MOVED,
                rotate_range=[angle] * (1 if flat else 3),
                scale_range=[(-0.3, 0.4)] * len(patch),
                mode=modes,
                padding_mode="zeros",
            ),
            t.RandGaussianNoised("image", prob=0.1, std=0.1),
            t.RandGaussianSmoothd("image", (0.5, 1), (0.5, 1), (0.5, 1), prob=0.1),
            t.RandScaleIntensityd("image", 0.25, prob=0.15),
            t.RandScaleIntensityFixedMeand("image", factors=0.25, preserve_range=True, prob=0.15),
            t.RandSimulateLowResolutiond(
                "image",
                prob=0.125,
                upsample_mode="bilinear" if flat else "trilinear",
                zoom_range=(0.5, 1.0),
            ),
            t.RandAdjustContrastd("image", 0.1, (0.7, 1.5), invert_image=True, retain_stats=True),
            t.RandAdjustContrastd("image", 0.3, (0.7, 1.5), retain_stats=True),
            *(t.RandFlipd(both, 0.5, axis) for axis in range(len(patch))),
        ]
    )

    def sample() -> object:
        image, labels = case.around(enlarged(case.patch))
        labels = labels[None]
        if flat:
            image, labels = image[..., 0], labels[..., 0]
        return steps({"image": torch.from_numpy(image), "label": torch.from_numpy(labels)})

    return sample


def torchio(case: Case) -> Sampler:
    import torchio as tio

    flat = case.patch[2] == 1
    degrees = (0, 0, 0, 0, -180, 180) if flat else (-30, 30) * 3
    steps = tio.Compose(
        [
            tio.RandomAffine((0.7, 1.4), degrees, isotropic=not flat, default_pad_value=0, p=MOVED),
            tio.CropOrPad(case.patch),
            tio.RandomNoise(std=(0, 0.1), p=0.1),
            tio.RandomBlur((0.5, 1), p=0.1),
            tio.RandomAnisotropy((0, 1) if flat else (0, 1, 2), (1, 2), p=0.125),
            tio.RandomGamma((-0.36, 0.41), p=0.4),
            tio.RandomFlip((0, 1) if flat else (0, 1, 2)),
        ]
    )

    def sample() -> object:
        image, labels = case.around(enlarged(case.patch))
        subject = tio.Subject(
            image=tio.ScalarImage(tensor=torch.from_numpy(image)),
            label=tio.LabelMap(tensor=torch.from_numpy(labels[None])),
        )
        return steps(subject)

    return sample


CONTENDERS: dict[str, Callable[[Case], Sampler]] = {
    "medseg": ours,
    "batchgeneratorsv2": batchgenerators,
    "MONAI": monai,
    "TorchIO": torchio,
}


def rate(sample: Sampler, seconds: float) -> float:
    """Samples a CPU second, after twenty that warm up."""
    for _ in range(20):
        sample()
    start, count = time.process_time(), 0
    while time.process_time() - start < seconds:
        sample()
        count += 1
    return count / (time.process_time() - start)


def rates(patch: tuple[int, int, int], seconds: float) -> Iterator[tuple[str, float | str]]:
    for name, contender in CONTENDERS.items():
        try:
            sample = contender(Case(patch))
        except ImportError as error:
            yield name, f"missing ({error.name or error})"
        else:
            yield name, rate(sample, seconds)


def ball(size: int) -> np.ndarray:
    axis = np.arange(size) - (size - 1) / 2
    i, j, k = np.meshgrid(axis, axis, axis, indexing="ij")
    return ((i**2 + (1.5 * j) ** 2 + (2 * k) ** 2) < (size / 3) ** 2).astype(np.uint8)


def round_trip(degrees: float, *, vote: bool) -> float:
    """Dice of an ellipsoid with itself after a turn and the turn back."""
    patch, labels = (40, 40, 40), ball(40)
    truth = labels
    for angle in (degrees, -degrees):
        params = AugmentParams(move=Move(rotation_degrees=(angle, 0, 0), spacing_mm=(1, 1, 1)))
        start, size = region(params, (20, 20, 20), patch)
        pads = [(-s, n + s - 40) for s, n in zip(start, size, strict=True)]
        padded = np.pad(labels, pads)
        if vote:
            labels = apply(np.zeros((1, *size), np.float32), padded, params, patch)[1]
        else:
            matrix, middle = params.move.matrix, np.full(3, 19.5)
            offset = middle - np.array(start) - matrix @ middle
            labels = ndimage.affine_transform(padded, matrix, offset, patch, order=0)
    return 2 * (labels & truth).sum() / (labels.sum() + truth.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="CPU seconds for each figure")
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    for patch in PATCHES:
        target = f", target {TARGETS[patch]:.0f}" if patch in TARGETS else ""
        print(f"\n{'x'.join(map(str, patch))}: samples a second{target}")
        for name, figure in rates(patch, seconds):
            text = figure if isinstance(figure, str) else f"{figure:8.1f}"
            print(f"  {name:18s} {text}")
    print("\nDice of an ellipsoid after a turn and back: vote, nearest")
    for degrees in (5, 15, 30):
        vote, nearest = (round_trip(degrees, vote=v) for v in (True, False))
        print(f"  {degrees:2d} degrees         {vote:.4f}, {nearest:.4f}")


if __name__ == "__main__":
    main()
