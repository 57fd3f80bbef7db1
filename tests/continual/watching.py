"""A small bundle of random weights, cases on disk, and observations that need no network."""

import numpy as np
import torch

from medseg.bundle import Bundle, Provenance, save_bundle
from medseg.continual.drift_observation import Observation
from medseg.dataset.description import Channel
from medseg.dataset.plan import Plan, ZScore
from medseg.inference.inputs import CaseInput
from medseg.networks import build
from medseg.specs import (
    AugmentSpec,
    Budget,
    LossSpec,
    MirrorSpec,
    PlainUNetSpec,
    RecipeSpec,
    WindowSpec,
)
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume

LABELS = (Label(value=1, name="core"), Label(value=2, name="shell"))
SIZE = (12, 14, 10)


def small_plan(mirrors=(0,)):
    network = PlainUNetSpec(
        dims=3, in_channels=1, classes=3, features=(4, 8), kernels=((3,) * 3,) * 2,
        strides=((1,) * 3, (2,) * 3), encoder_convs=(1, 1), decoder_convs=(1,),
    )  # fmt: skip
    return Plan(
        dataset="Small", config="3d_full", channels=(Channel(name="T1", modality="MR"),),
        labels=LABELS, normalisations=(ZScore(),), orientation="RAS", spacing_mm=(1.0, 1.0, 1.0),
        crop_to_nonzero=False, patch_size=(16, 16, 16), network=network, loss=LossSpec(),
        augment=AugmentSpec(mirror=MirrorSpec(axes=mirrors)), recipe=RecipeSpec(),
        window=WindowSpec(patch_size=(16, 16, 16)),
        budget=Budget(seconds=60.0, memory_bytes=1 << 30, gflops=50.0), median_grid=SIZE,
    )  # fmt: skip


def small_bundle(folder, *, members=2, mirrors=(0,), learned=()):
    plan = small_plan(mirrors)
    torch.manual_seed(0)
    states = tuple(build(plan.network).state_dict() for _ in range(members))
    provenance = Provenance(
        medseg_version="0", created="2026-01-01T00:00:00Z", data_name="Small", data_hash="0",
        seed=0, training_cases=learned,
    )  # fmt: skip
    return save_bundle(Bundle(plan=plan, provenance=provenance, members=states), folder)


def volume_of(seed, size=SIZE):
    rng = np.random.default_rng(seed)
    array = rng.normal(100, 20, (1, *size)) + 60 * np.linspace(0, 1, size[0])[:, None, None]
    return Volume(array.astype(np.float32), Geometry.from_spacing((1.0, 1.0, 1.0), size))


def write_cases(folder, count, *, labels=None):
    """Images by name, and where asked label files of the same names."""
    cases = []
    for n in range(count):
        path = folder / f"case_{n:02d}.nii.gz"
        volume = volume_of(n)
        write_volume(volume, path)
        if labels is not None:
            values = (volume.array[0] > 130).astype(np.uint8)
            values[:3] *= 2
            write_label_map(LabelMap(values, volume.geometry, LABELS), labels / path.name)
        cases.append(CaseInput(f"case_{n:02d}", (path,)))
    return cases


def made_up(count, *, seed=0, shift=0.0, dice=None, prefix="case"):
    """Observations of normal numbers; `shift` moves two of them and the embedding."""
    rng = np.random.default_rng(seed)
    found = []
    for n in range(count):
        values = {f"image.a{i}": float(rng.normal()) for i in range(6)}
        values |= {"mask.entropy": float(rng.normal()), "mask.information": float(rng.random())}
        values |= {"mask.mirror_information": float(rng.random()), "mask.volume_ml.core": 1.0}
        values["image.a0"] += shift
        values["mask.entropy"] += shift
        if dice is not None:
            values["reference.dice"] = float(np.clip(rng.normal(dice, 0.02), 0, 1))
        embedding = (rng.normal(size=20) + 0.5 * shift).astype(np.float32)
        found.append(Observation(f"{prefix}_{n}", values, embedding))
    return found
