"""Small bundles with random weights, and volumes of noise."""

import numpy as np
import torch

from medseg.bundle import Bundle, Provenance
from medseg.dataset.description import Channel
from medseg.dataset.plan import Plan, ZScore
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
from medseg.volume.labels import Label
from medseg.volume.volume import Volume


def make_plan(*, dims: int = 3, channels: int = 1, values: tuple[int, ...] = (1, 2)) -> Plan:
    patch = (16, 16, 16) if dims == 3 else (16, 16, 1)
    network = PlainUNetSpec(
        dims=dims,
        in_channels=channels,
        classes=len(values) + 1,
        features=(4, 8),
        kernels=((3,) * dims,) * 2,
        strides=((1,) * dims, (2,) * dims),
        encoder_convs=(1, 1),
        decoder_convs=(1,),
    )
    return Plan(
        dataset="phantom",
        config="3d_full" if dims == 3 else "2d",
        channels=tuple(Channel(name=f"T{n}", modality="MR") for n in range(channels)),
        labels=tuple(Label(value=v, name=f"organ {v}") for v in values),
        normalisations=(ZScore(),) * channels,
        orientation="RAS",
        spacing_mm=(1.0, 1.0, 1.0),
        crop_to_nonzero=False,
        patch_size=patch,
        network=network,
        loss=LossSpec(),
        augment=AugmentSpec(mirror=MirrorSpec(axes=(0, 1, 2))),
        recipe=RecipeSpec(),
        window=WindowSpec(patch_size=patch),
        budget=Budget(seconds=60.0, memory_bytes=1 << 30, gflops=50.0),
        median_grid=(20, 20, 20),
    )


def make_bundle(plan: Plan | None = None, *, members: int = 1, **facts: object) -> Bundle:
    plan = plan or make_plan()
    torch.manual_seed(0)
    states = tuple(build(plan.network).state_dict() for _ in range(members))
    provenance = Provenance(
        medseg_version="0",
        created="2026-01-01T00:00:00Z",
        data_name="phantom",
        data_hash="0",
        seed=0,
    )
    return Bundle(plan=plan, provenance=provenance, members=states, **facts)


def make_volume(size: tuple[int, int, int] = (20, 18, 22), channels: int = 1) -> Volume:
    rng = np.random.default_rng(0)
    array = rng.normal(100, 20, (channels, *size)).astype(np.float32)
    geometry = Geometry.from_spacing((1.0, 1.0, 1.0), size, origin_mm=(-7.0, 3.0, 11.0))
    return Volume(array, geometry, tuple(f"T{n}" for n in range(channels)))
