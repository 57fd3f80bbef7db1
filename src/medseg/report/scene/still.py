"""A case in space as a picture, drawn without a browser or a graphics card."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from medseg.report.scene.mesh import Surface
from medseg.report.scene.raster import LAMP, LIGHT, draw_triangles
from medseg.report.scene.scene import Scene, Shown
from medseg.types import FloatArray

Look = Literal["front left", "front", "back", "left", "right", "above", "below"]
"""Where the viewer stands: at the patient's front and left, in front, and so on."""

Pixels = npt.NDArray[np.uint8]
"""Red, green, blue and opacity, shape (rows, columns, 4)."""

_EYES: Mapping[Look, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "front left": ((-0.95, 1.3, 0.75), (0, 0, 1)),
    "front": ((0, 1, 0), (0, 0, 1)),
    "back": ((0, -1, 0), (0, 0, 1)),
    "left": ((-1, 0, 0), (0, 0, 1)),
    "right": ((1, 0, 0), (0, 0, 1)),
    "above": ((0, 0, 1), (0, 1, 0)),
    "below": ((0, 0, -1), (0, 1, 0)),
}
"""Direction to the eye and what is up, in RAS."""

_MARGIN = 0.04
_FINER = 2
_NO_PARTNER = "#8c949c"
_EVEN_LIGHT = (0.62, 0.38, 0.0)
"""Where colours are numbers, light changes them less."""
_PAPER = {False: ("#f7f8f8", "#16191d"), True: ("#101317", "#e8eaed")}
_LEGEND_ROWS = 14
_INCH = 100
_LINE_PIXELS, _BAR_PIXELS = 30, 70


@dataclass(frozen=True, eq=False)
class _Eye:
    """From RAS millimetres to pixels: parallel rays, so that sizes can be compared."""

    axes: FloatArray
    scale: float
    middle: FloatArray
    size: tuple[int, int]

    def places(self, vertices_mm: FloatArray) -> FloatArray:
        seen = (vertices_mm.astype(np.float64) @ self.axes.T - self.middle) * self.scale
        seen[:, 0] += (self.size[0] - 1) / 2
        seen[:, 1] = (self.size[1] - 1) / 2 - seen[:, 1]
        return np.asarray(seen)


def render_png(
    surfaces: Sequence[Surface],
    size: tuple[int, int] = (800, 600),
    *,
    colours: Mapping[int, str],
    look: Look = "front left",
) -> bytes:
    """Surfaces as a PNG with a transparent background.

    Args:
        surfaces: What is drawn; thinned ones (`mesh.decimated`) suffice.
        size: Width and height in pixels.
        colours: "#rrggbb" by label value.
        look: Where the viewer stands.
    """
    painted = [_plain(surface, colours[surface.label.value]) for surface in surfaces]
    return _png(_render(surfaces, painted, size, look, surfaces))


def scene_png(
    scene: Scene,
    size: tuple[int, int] = (1200, 800),
    *,
    look: Look = "front left",
    distance: bool = False,
    dark: bool = False,
) -> bytes:
    """A scene as a PNG with names: its maps side by side, and a legend or a bar of distances.

    Args:
        scene: What is shown; its image is not drawn.
        size: Width and height in pixels, at least (300, 300).
        look: Where the viewer stands.
        distance: Whether colours are distances, where these were measured.
        dark: Whether the paper is dark.
    """
    paper, ink = _PAPER[dark]
    distance = distance and any(shown.distances_mm for shown in scene.shown)
    figure = Figure(figsize=(size[0] / _INCH, size[1] / _INCH), dpi=_INCH, facecolor=paper)
    lines = bool(scene.title) + (len(scene.shown) > 1)
    below, above = (_BAR_PIXELS if distance else 0) / size[1], lines * _LINE_PIXELS / size[1]
    beside = 0.0 if distance else _legend(figure, scene, ink, size)
    paint = _by_distance(scene) if distance else _by_structure(scene)
    every = [surface for shown in scene.shown for surface in shown.surfaces]
    width, height = (1 - beside) / max(len(scene.shown), 1), 1 - above - below
    panel = (max(1, round(width * size[0])), max(1, round(height * size[1])))
    for n, shown in enumerate(scene.shown):
        painted = [paint(shown, surface) for surface in shown.surfaces]
        light = _EVEN_LIGHT if distance else LIGHT
        axes = figure.add_axes((n * width, below, width, height))
        axes.set_axis_off()
        axes.imshow(_render(shown.surfaces, painted, panel, look, every, light), aspect="auto")
        if len(scene.shown) > 1:
            place = ((n + 0.5) * width, 1 - above + 8 / size[1])
            figure.text(*place, shown.name, color=ink, ha="center", size=12)
    if scene.title:
        place = (14 / size[0], 1 - 12 / size[1])
        figure.text(*place, scene.title, color=ink, size=12, va="top", weight="bold")
    if distance:
        _bar(figure, scene, ink, size)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_INCH, facecolor=paper, metadata={"Software": None})
    return buffer.getvalue()


def _render(
    surfaces: Sequence[Surface],
    colours: Sequence[FloatArray],
    size: tuple[int, int],
    look: Look,
    fitted: Sequence[Surface],
    light: tuple[float, float, float] = LIGHT,
) -> Pixels:
    """Draw surfaces with colours of their vertices; the picture fits around `fitted`."""
    fine = (size[0] * _FINER, size[1] * _FINER)
    pixels = np.zeros((fine[1], fine[0], 4))
    depth = np.full((fine[1], fine[0]), -np.inf)
    eye = _eye(look, fine, fitted)
    lamp = np.asarray(LAMP) / np.linalg.norm(LAMP)
    for surface, colour in zip(surfaces, colours, strict=True):
        draw_triangles(
            eye.places(surface.vertices_mm), surface.normals @ eye.axes.T, colour,
            surface.triangles, lamp, np.asarray(light), pixels, depth,
        )  # fmt: skip
    cover = pixels[..., 3:]
    pixels[..., :3] *= cover
    joined = pixels.reshape(size[1], _FINER, size[0], _FINER, 4).mean(axis=(1, 3))
    joined[..., :3] /= np.maximum(joined[..., 3:], 1e-9)
    return np.asarray(np.rint(joined * 255), np.uint8)


def _eye(look: Look, size: tuple[int, int], fitted: Sequence[Surface]) -> _Eye:
    direction, up = (np.asarray(one, np.float64) for one in _EYES[look])
    toward = direction / np.linalg.norm(direction)
    right = np.cross(up, toward)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(toward, right), toward])
    if not fitted:
        return _Eye(axes, 1.0, np.zeros(3), size)
    seen = [surface.vertices_mm.astype(np.float64) @ axes.T for surface in fitted]
    low = np.min([one.min(axis=0) for one in seen], axis=0)
    high = np.max([one.max(axis=0) for one in seen], axis=0)
    spans = np.maximum(high - low, 1e-6)[:2]
    scale = float(np.min(np.asarray(size) * (1 - 2 * _MARGIN) / spans))
    return _Eye(axes, scale, (low + high) / 2, size)


def _plain(surface: Surface, colour: str) -> FloatArray:
    part = np.frombuffer(bytes.fromhex(colour[1:]), np.uint8) / 255
    return np.asarray(np.tile(part, (len(surface.vertices_mm), 1)))


def _by_structure(scene: Scene) -> Callable[[Shown, Surface], FloatArray]:
    colours = scene.colours
    return lambda _, surface: _plain(surface, colours[surface.label.value])


def _by_distance(scene: Scene) -> Callable[[Shown, Surface], FloatArray]:
    most = scene.largest_distance_mm

    def paint(shown: Shown, surface: Surface) -> FloatArray:
        measured = shown.distances_mm.get(surface.label.value)
        if measured is None:
            return _plain(surface, _NO_PARTNER)
        return np.asarray(colormaps["viridis"](np.clip(measured / most, 0, 1))[:, :3])

    return paint


def _legend(figure: Figure, scene: Scene, ink: str, size: tuple[int, int]) -> float:
    """Names beside the picture, in columns; the share of the width that they take."""
    drawn = {one.label.value for shown in scene.shown for one in shown.surfaces}
    colours = scene.colours
    labels = [label for label in scene.labels if label.value in drawn]
    rows = max(_LEGEND_ROWS, (size[1] - 80) // 22)
    listed = labels[: 2 * rows]
    handles: list[Any] = [
        Line2D(
            [],
            [],
            marker="s",
            linestyle="",
            markersize=8,
            color=colours[label.value],
            label=label.name,
        )
        for label in listed
    ]
    if len(labels) > len(listed):
        more = f"and {len(labels) - len(listed)} more"
        handles.append(Line2D([], [], linestyle="", label=more))
    if not handles:
        return 0.0
    legend = figure.legend(
        handles=handles, loc="center right", ncols=-(-len(handles) // (rows + 1)), frameon=False,
        labelcolor=ink, fontsize=10, handletextpad=0.2, columnspacing=1.0, borderaxespad=0.6,
    )  # fmt: skip
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    width: float = legend.get_window_extent(renderer).width
    return min(0.6, (width + 16) / size[0])


def _bar(figure: Figure, scene: Scene, ink: str, size: tuple[int, int]) -> None:
    axes = figure.add_axes((0.32, 44 / size[1], 0.36, 10 / size[1]))
    most = scene.largest_distance_mm
    scalar = ScalarMappable(Normalize(0, most), colormaps["viridis"])
    bar = figure.colorbar(scalar, cax=axes, orientation="horizontal", extend="max")
    bar.outline.set_visible(False)
    bar.set_label("distance, mm", color=ink, fontsize=10)
    axes.tick_params(colors=ink, labelsize=9, length=0)


def _png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
