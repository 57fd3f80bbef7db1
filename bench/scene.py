"""How large is the page of a 512x512x200 CT with 10 organs, how long does it take, is it right?

    python bench/scene.py [--labels 10] [--out FOLDER]

A made-up CT: a body of soft tissue with noise of 15 HU in air, and bumpy organs of 2 to 12 cm; the
reference is the same, moved and bent a little. Three pages are written: image and mask, image with
mask and reference, and the mask with twelve times as many structures. Seconds are wall time of a
warm process; the first call on a machine compiles for about eight seconds more. How far the thinned
surfaces are from the full ones, and their volumes from the voxels', is measured too.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medseg.report.scene.mesh import Surface, decimated, distances_mm, surfaces_of
from medseg.report.scene.scene import Scene, make_scene
from medseg.report.scene.scene3d import page_of
from medseg.report.scene.still import scene_png
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Source, Volume

SIZE, SPACING_MM = (512, 512, 200), (0.8, 0.8, 1.5)
GEOMETRY = Geometry.from_spacing(SPACING_MM, SIZE)
LIMIT_MB = 10.0


def organs(count: int, *, bent: bool) -> LabelMap:
    """Ellipsoids with bumps, at random places; `bent` moves and scales each a little."""
    generator = np.random.default_rng(0)
    array = np.zeros(SIZE, np.uint8)
    for value in range(1, count + 1):
        centre = generator.uniform(0.2, 0.8, 3) * SIZE
        radius = generator.uniform(10, 60, 3) / SPACING_MM * (10 / count) ** 0.25
        shift, scale = generator.normal(0, 3, 3) / SPACING_MM, generator.uniform(0.92, 1.08, 3)
        if bent:
            centre, radius = centre + shift, radius * scale
        fill(array, value, centre, radius)
    return LabelMap(
        array, GEOMETRY, tuple(Label(value=v, name=f"organ {v}") for v in range(1, count + 1))
    )


def fill(array: np.ndarray, value: int, centre: np.ndarray, radius: np.ndarray) -> None:
    first = np.maximum(0, centre - 1.2 * radius).astype(int)
    last = np.minimum(SIZE, centre + 1.2 * radius + 1).astype(int)
    box = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    i, j, k = ((x - c) / r for x, c, r in zip(np.ogrid[box], centre, radius, strict=True))
    bumps = 0.12 * np.sin(5 * i + value) * np.cos(4 * j) * np.cos(6 * k)
    array[box][i**2 + j**2 + k**2 <= 1 + bumps] = value


def scan(mask: LabelMap) -> Volume:
    """Soft tissue in air, organs of their own grey, and noise: int16 HU."""
    generator = np.random.default_rng(1)
    i, j = np.ogrid[: SIZE[0], : SIZE[1]]
    body = ((i - 256) / 230) ** 2 + ((j - 256) / 190) ** 2 <= 1
    array = np.where(body[..., np.newaxis], np.int16(30), np.int16(-1000))
    array = np.where(mask.array > 0, (mask.array.astype(np.int16) % 12) * 15 + 40, array)
    for k in range(SIZE[2]):
        array[..., k] += generator.normal(0, 15, SIZE[:2]).astype(np.int16)
    return Volume(array[np.newaxis], GEOMETRY, ("image",), Source(modality="CT"))


def report(name: str, image: Volume | None, masks: Mapping[str, LabelMap], out: Path) -> None:
    begin = time.perf_counter()
    scene = make_scene(image, masks, title=name)
    built = time.perf_counter()
    page = page_of(scene)
    written = time.perf_counter()
    (out / f"{name}.html").write_text(page, encoding="utf-8")
    drawn = time.perf_counter()
    (out / f"{name}.png").write_bytes(scene_png(scene))
    still = time.perf_counter() - drawn
    mb = len(page.encode()) / 1e6
    print(
        f"{name:28} {mb:5.2f} MB  {scene.triangles:7,} triangles  "
        f"scene {built - begin:5.2f} s  page {written - built:5.2f} s  still {still:5.2f} s"
        f"{parts(scene)}",
        flush=True,
    )
    assert mb < LIMIT_MB, f"{name} has {mb:.1f} MB"


def parts(scene: Scene) -> str:
    texture = scene.texture
    if texture is None:
        return ""
    size = "x".join(map(str, texture.grid_size))
    return f"  slices {size}, {len(texture.address) / 1e6:.2f} MB"


def quality(mask: LabelMap) -> None:
    """How far the drawn surfaces are from the full ones, and what they enclose."""
    full = surfaces_of(mask)
    light = decimated(full)
    away = np.concatenate([distances_mm(a, b) for a, b in zip(light, full, strict=True)])
    voxels = mask.volumes_ml()
    triangles = sum(len(one.triangles) for one in full)
    print(f"{triangles:,} triangles before thinning")
    print(
        f"drawn vertices from the full surfaces: {np.mean(away):.3f} mm, at most {np.max(away):.3f}"
    )
    print(
        f"volumes differ from the voxels' by at most {worst(full, voxels):.2%} (full surfaces) "
        f"and {worst(light, voxels):.2%} (drawn)"
    )


def worst(surfaces: tuple[Surface, ...], voxels: Mapping[str, float]) -> float:
    return max(abs(one.volume_ml / voxels[one.label.name] - 1) for one in surfaces)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--labels", type=int, default=10)
    options.add_argument("--out", type=Path, help="keep the pages here")
    asked = options.parse_args()
    predicted, reference = organs(asked.labels, bent=True), organs(asked.labels, bent=False)
    image = scan(reference)
    small = organs(3, bent=False)
    scene_png(make_scene(None, {"a": small, "b": small}, most_triangles=2000))
    with tempfile.TemporaryDirectory() as folder:
        out = asked.out or Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        report("image and mask", image, {"mask": predicted}, out)
        both = {"prediction": predicted, "reference": reference}
        report("with a reference", image, both, out)
        many = organs(asked.labels * 12, bent=False)
        report(f"{asked.labels * 12} structures", image, {"mask": many}, out)
    quality(predicted)


if __name__ == "__main__":
    main()
