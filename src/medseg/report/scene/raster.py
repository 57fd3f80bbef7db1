"""Triangles to pixels without a graphics card: nearest wins, lit by a lamp beside the viewer."""

import numpy as np

from medseg.compiled import compiled
from medseg.types import FloatArray, IntArray

LIGHT = (0.4, 0.64, 0.14)
"""Shares of light from everywhere, from the lamp, and mirrored."""

LAMP = (-0.35, 0.45, 0.82)
"""Direction to the lamp as the viewer sees it: to the left, upwards and towards the eye."""


@compiled
def draw_triangles(
    places: FloatArray,
    normals: FloatArray,
    colours: FloatArray,
    triangles: IntArray,
    lamp: FloatArray,
    light: FloatArray,
    pixels: FloatArray,
    depth: FloatArray,
) -> None:
    """Draw one surface into a picture that may hold others.

    Args:
        places: Of the vertices: column and row in pixels, and height towards the eye, shape (n, 3).
        normals: Unit normals in the eye's axes (right, up, towards the eye), shape (n, 3).
        colours: Red, green and blue of the vertices from 0 to 1, shape (n, 3).
        triangles: Corners, shape (m, 3).
        lamp: Unit vector to the lamp in the eye's axes.
        light: Ambient, diffuse and mirrored share.
        pixels: Red, green, blue and cover, changed in place, shape (rows, columns, 4).
        depth: Height of what is drawn so far, -inf where nothing is, changed in place.
    """
    rows, columns = depth.shape
    normal, colour = np.empty(3), np.empty(3)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by = places[a, 0], places[a, 1], places[b, 0], places[b, 1]
        cx, cy = places[c, 0], places[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        first_x, last_x = (
            max(0, int(np.ceil(min(ax, bx, cx)))),
            min(columns - 1, int(max(ax, bx, cx))),
        )
        first_y, last_y = max(0, int(np.ceil(min(ay, by, cy)))), min(rows - 1, int(max(ay, by, cy)))
        for y in range(first_y, last_y + 1):
            for x in range(first_x, last_x + 1):
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                w = 1.0 - u - v
                if u < 0.0 or v < 0.0 or w < 0.0:
                    continue
                height = u * places[a, 2] + v * places[b, 2] + w * places[c, 2]
                if height <= depth[y, x]:
                    continue
                depth[y, x] = height
                for n in range(3):
                    normal[n] = u * normals[a, n] + v * normals[b, n] + w * normals[c, n]
                    colour[n] = u * colours[a, n] + v * colours[b, n] + w * colours[c, n]
                shade(normal, colour, lamp, light, pixels[y, x])


@compiled
def shade(
    normal: FloatArray, colour: FloatArray, lamp: FloatArray, light: FloatArray, pixel: FloatArray
) -> None:
    """Light one point and write it; a surface seen from its inside is lit as from its outside.

    Source:
        Blinn, SIGGRAPH 1977.
    """
    length = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2)
    turn = -1.0 if normal[2] < 0 else 1.0
    scale = turn / length if length > 0 else 0.0
    facing, mirrored, halfway = 0.0, 0.0, 0.0
    for n in range(3):
        toward = lamp[n] + (1.0 if n == 2 else 0.0)
        facing += normal[n] * scale * lamp[n]
        mirrored += normal[n] * scale * toward
        halfway += toward**2
    gloss = light[2] * max(0.0, mirrored / np.sqrt(halfway)) ** 40
    for n in range(3):
        lit = colour[n] * (light[0] + light[1] * max(0.0, facing)) + gloss
        pixel[n] = min(1.0, lit)
    pixel[3] = 1.0
