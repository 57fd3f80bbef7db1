"""A made-up study with a known truth: abdomen-like slices with organs, noise and a bias field.

Every case has a body, two kidneys, a liver, a spleen and an aorta. Position, size, tilt and
intensity of each vary from case to case; slices are thick (5 mm against 2 mm), the receiver coil
shades the image, and noise is Rician, as in magnitude MR images (Gudbjartsson and Patz, 1995).
It is made for demonstrations and tests of the whole way; it says nothing about real anatomy.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from medseg.files import write_text
from medseg.progress import SILENT, Progress
from medseg.types import FloatArray, GridSize, IntArray, Mask, SpacingMm
from medseg.volume.dicom import write_series
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.labels import Code, Label, Labels, make_labels
from medseg.volume.volume import LabelMap, Volume

GRID: GridSize = (80, 64, 24)
SPACING_MM: SpacingMm = (2.0, 2.0, 5.0)

_ANATOMY = Code(value="123037004", meaning="Anatomical Structure")


@dataclass(frozen=True)
class _Organ:
    """An ellipsoid of an organ: where it lies, how large it is and how bright, on average."""

    value: int
    name: str
    code: Code
    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    brightness: float


def _organ(
    value: int, name: str, code: str, *, at: SpacingMm, radii: SpacingMm, bright: float
) -> _Organ:
    return _Organ(value, name, Code(value=code, meaning=name), at, radii, bright)


_ORGANS = (
    _organ(1, "Liver", "10200004", at=(32, 2, 12), radii=(30, 32, 38), bright=0.62),
    _organ(2, "Spleen", "78961009", at=(-46, -18, 14), radii=(13, 21, 25), bright=0.46),
    _organ(3, "Right kidney", "9846003", at=(27, -28, -26), radii=(12, 13, 25), bright=0.84),
    _organ(4, "Left kidney", "18639004", at=(-29, -28, -22), radii=(12, 13, 25), bright=0.84),
    _organ(5, "Aorta", "15825003", at=(-4, -14, 0), radii=(7, 7, 400), bright=0.20),
)

LABELS: Labels = make_labels(
    Label(value=o.value, name=o.name, category=_ANATOMY, kind=o.code) for o in _ORGANS
)
"""The phantom's five structures with their SNOMED CT codes."""


def make_phantom(generator: np.random.Generator) -> tuple[Volume, LabelMap]:
    """Draw one case.

    Args:
        generator: Source of all that varies; the same state gives the same case.

    Returns:
        An MR-like image (1, 80, 64, 24), int16, and its label map, on a RAS grid of
        2 x 2 x 5 mm that is centred on the world's origin.
    """
    origin = tuple(-s * (n - 1) / 2 for s, n in zip(SPACING_MM, GRID, strict=True))
    geometry = Geometry.from_spacing(SPACING_MM, GRID, origin_mm=(origin[0], origin[1], origin[2]))
    index = np.stack(np.meshgrid(*(np.arange(n) for n in GRID), indexing="ij"), axis=-1)
    world_mm = geometry.index_to_world(index.astype(np.float64))
    labels, clean = _draw_organs(world_mm, generator)
    image = _acquire(clean, generator)
    return (
        Volume(image[None], geometry, ("T1",)),
        LabelMap(labels, geometry, LABELS),
    )


@dataclass(frozen=True)
class Study:
    """Where the parts of a study lie.

    Attributes:
        raw: Training cases as NIfTI, in the layout of the Medical Segmentation Decathlon.
        unseen: One folder for each further case, a DICOM series.
        references: The true label maps of the unseen cases, as NIfTI.
    """

    raw: Path
    unseen: Path
    references: Path


def write_study(
    folder: Path, *, training: int, unseen: int, seed: int, progress: Progress = SILENT
) -> Study:
    """Make a study on disk.

    Args:
        folder: Where `study`, `unseen` and `references` are made.
        training: Cases with labels.
        unseen: Cases to predict.
        seed: The same seed gives the same study.
        progress: Told after each case.

    Raises:
        CannotWrite: If the folder cannot be written.
    """
    study = Study(folder / "study", folder / "unseen", folder / "references")
    generator = np.random.default_rng(seed)
    listed = []
    with progress.task("Making a study", training + unseen) as task:
        for n in range(training + unseen):
            volume, label_map = make_phantom(generator)
            name = f"phantom_{n:02}"
            if n < training:
                image, label = f"imagesTr/{name}.nii.gz", f"labelsTr/{name}.nii.gz"
                write_volume(volume, study.raw / image)
                write_label_map(label_map, study.raw / label)
                listed.append({"image": f"./{image}", "label": f"./{label}"})
            else:
                _write_unseen(volume, label_map, name, study)
            task.advance()
    description: dict[str, Any] = {
        "name": "Phantom",
        "licence": "CC0-1.0",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", **{str(label.value): label.name for label in LABELS}},
        "training": listed,
    }
    write_text(study.raw / "dataset.json", json.dumps(description, indent=1))
    return study


def _write_unseen(volume: Volume, label_map: LabelMap, name: str, study: Study) -> None:
    write_series(
        volume,
        study.unseen / name,
        modality="MR",
        patient_name=f"Phantom^{name[-2:]}",
        patient_id=name,
        study_description="Demo",
        series_description=name,
    )
    write_label_map(label_map, study.references / f"{name}.nii.gz")


def _draw_organs(
    world_mm: FloatArray, generator: np.random.Generator
) -> tuple[IntArray, FloatArray]:
    """Label map (I, J, K) and noiseless image (I, J, K) in units of full brightness."""
    habitus = generator.uniform(0.9, 1.08)
    body = _inside(world_mm, np.zeros(3), np.array((72.0, 55.0, 900.0)) * habitus, generator)
    image = np.where(body, 0.34, 0.0)
    rim = body & ~_inside(world_mm, np.zeros(3), np.array((67.0, 50.0, 900.0)) * habitus, generator)
    image[rim] = 0.95
    labels = np.zeros(world_mm.shape[:3], np.uint8)
    for organ in _ORGANS:
        centre = (np.array(organ.centre_mm) + generator.normal(0, 2.5, 3)) * habitus
        radii = np.array(organ.radii_mm) * generator.uniform(0.85, 1.15, 3) * habitus
        inside = _inside(world_mm, centre, radii, generator) & body & ~rim
        labels[inside] = organ.value
        image[inside] = organ.brightness * generator.uniform(0.92, 1.08)
    return labels, image


def _inside(
    world_mm: FloatArray,
    centre_mm: FloatArray,
    radii_mm: FloatArray,
    generator: np.random.Generator,
) -> Mask:
    """Where an ellipsoid with a gently waving surface is, boolean (I, J, K)."""
    angle = generator.normal(0, 0.12)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    unit = (world_mm - centre_mm) @ turn / radii_mm
    phase = generator.uniform(0, 2 * np.pi, 3)
    wave = 0.06 * np.sin(3 * unit + phase).sum(axis=-1)
    return np.asarray((unit**2).sum(axis=-1) < 1 + wave)


def _acquire(clean: FloatArray, generator: np.random.Generator) -> IntArray:
    """Blur, texture, coil shading and Rician noise; int16 (I, J, K) as a scanner stores it."""
    tissue = clean * (1 + 0.5 * gaussian_filter(generator.normal(0, 1, clean.shape), 1.2))
    blurred = gaussian_filter(tissue, (0.5, 0.5, 0.3))
    shading = gaussian_filter(generator.normal(0, 1, clean.shape), (26, 22, 10), mode="reflect")
    shading = np.exp(0.25 * shading / max(float(np.abs(shading).max()), 1e-9))
    real, imaginary = generator.normal(0, 0.035, (2, *clean.shape))
    magnitude = np.hypot(blurred * shading + real, imaginary)
    stored: IntArray = np.clip(magnitude * generator.uniform(700, 1100), 0, 4095).astype(np.int16)
    return stored
