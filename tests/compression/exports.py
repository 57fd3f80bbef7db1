"""A small bundle that has learned something, and the cases that it learned from."""

import numpy as np
import torch

from medseg.bundle import Bundle, Provenance, build_members
from medseg.dataset.description import Case, Channel, DatasetDescription
from medseg.dataset.plan import Plan, ZScore
from medseg.networks import build
from medseg.specs import (
    AugmentSpec,
    Budget,
    LossSpec,
    PlainUNetSpec,
    RecipeSpec,
    WindowSpec,
)
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume

LABELS = (Label(value=1, name="core"), Label(value=4, name="shell"))
CHANNEL = Channel(name="T1", modality="MR")
SPACING_MM = (1.0, 1.2, 2.0)


def draw_ball(generator, size, centre_mm=(8, 12)):
    """A bright ball in a grey shell: its image and its values."""
    at = np.stack(np.indices(size), axis=-1) * SPACING_MM - generator.uniform(*centre_mm, size=3)
    distance = np.linalg.norm(at, axis=-1)
    values = np.where(distance < 3.5, 1, np.where(distance < 6, 4, 0)).astype(np.uint8)
    image = np.choose(values.clip(max=2), (0.0, 300.0, 150.0))
    return image + generator.normal(scale=20, size=size), values


def write_ball(folder, n, *, size=(20, 18, 10)):
    """A case whose file has other axes than the plan."""
    image, values = draw_ball(np.random.default_rng(n), size)
    geometry = Geometry.from_spacing(SPACING_MM, size, origin_mm=(5.0, -7.0, 3.0))
    case = Case(
        id=f"ball_{n}", images=(folder / f"ball_{n}.nii.gz",), label=folder / f"l{n}.nii.gz"
    )
    volume = Volume(image[None].astype(np.float32), geometry).reoriented("LPS")
    write_volume(volume, case.images[0])
    write_label_map(LabelMap(values, geometry, LABELS).reoriented("LPS"), case.label)
    return case


def make_data(folder, count=6):
    return DatasetDescription(
        name="Balls",
        channels=(CHANNEL,),
        labels=LABELS,
        cases=tuple(write_ball(folder, n) for n in range(count)),
    )


def make_plan(dims=3):
    network = PlainUNetSpec(
        dims=dims,
        in_channels=1,
        classes=3,
        features=(8, 12),
        kernels=((3,) * dims,) * 2,
        strides=((1,) * dims, (2,) * dims),
        encoder_convs=(2, 1),
        decoder_convs=(1,),
    )
    patch = (16, 16, 8) if dims == 3 else (16, 16, 1)
    return Plan(
        dataset="Balls",
        config="3d_full" if dims == 3 else "2d",
        channels=(CHANNEL,),
        labels=LABELS,
        normalisations=(ZScore(),),
        orientation="RAS",
        spacing_mm=(1.1, 1.1, 2.0),
        crop_to_nonzero=False,
        patch_size=patch,
        network=network,
        loss=LossSpec(),
        augment=AugmentSpec(),
        recipe=RecipeSpec(batch_size=2),
        window=WindowSpec(patch_size=patch),
        budget=Budget(seconds=60.0, memory_bytes=1 << 30, gflops=50.0),
        median_grid=(20, 18, 10),
    )


def learned(plan, *, seed):
    """Weights that tell the parts of a ball apart, after two seconds of training."""
    key = (plan.network.model_dump_json(), seed)
    if key not in _LEARNED:
        _LEARNED[key] = _learn(plan, seed)
    return {name: tensor.clone() for name, tensor in _LEARNED[key].items()}


_LEARNED = {}


def _learn(plan, seed, steps=50):
    torch.manual_seed(seed)
    network = build(plan.network).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    generator = np.random.default_rng(seed)
    for _ in range(steps):
        drawn = [draw_ball(generator, (16, 16, 8), (2, 14)) for _ in range(4)]
        image = torch.from_numpy(np.stack([one for one, _ in drawn]).astype(np.float32))[:, None]
        image = (image - image.mean()) / image.std()
        classes = torch.from_numpy(np.stack([values for _, values in drawn]).clip(max=2)).long()
        if plan.network.dims == 2:
            image, classes = image[..., 4], classes[..., 4]
        loss = torch.nn.functional.cross_entropy(network(image)[0], classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def make_bundle(plan=None, *, members=1, training=("ball_0", "ball_1", "ball_2"), **facts):
    plan = plan or make_plan()
    provenance = Provenance(
        medseg_version="0",
        created="2026-01-01T00:00:00Z",
        data_name="Balls",
        data_hash="0",
        seed=0,
        training_cases=training,
    )
    weights = tuple(learned(plan, seed=n) for n in range(members))
    return Bundle(plan, provenance, weights, **facts)


def first_network(bundle):
    return build_members(bundle.configurations[0])[0]
