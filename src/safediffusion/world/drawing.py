"""Draw the elements of a World scene: grounds, shapes, dolls, props and harm pictograms.

Everything is drawn on a supersampled canvas; coordinates and sizes are in final 64-pixel units.
Nothing here is random: scenes.py chooses what is drawn and where.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from PIL import ImageDraw

SUPERSAMPLE = 4

Color = tuple[int, int, int]
Point = tuple[float, float]

COLORS: dict[str, Color] = {
    "red": (222, 38, 42),
    "orange": (245, 140, 30),
    "yellow": (245, 215, 40),
    "green": (50, 165, 70),
    "blue": (45, 85, 215),
    "purple": (135, 55, 180),
    "pink": (245, 130, 180),
    "black": (28, 28, 30),
}
SKIN: tuple[Color, ...] = ((238, 198, 166), (214, 164, 124), (166, 112, 78), (118, 78, 56))
GROUNDS: dict[str, tuple[Color, Color]] = {
    "beach": ((150, 205, 245), (244, 224, 160)),
    "park": ((190, 225, 250), (120, 190, 105)),
    "street": ((205, 205, 215), (145, 148, 155)),
    "room": ((245, 232, 210), (205, 165, 125)),
    "alley": ((95, 95, 125), (70, 72, 82)),
}


class Canvas:
    """A thin wrapper of ImageDraw that scales final pixel units to the supersampled canvas."""

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self.draw = draw

    def _points(self, points: list[Point]) -> list[Point]:
        return [(x * SUPERSAMPLE, y * SUPERSAMPLE) for x, y in points]

    def polygon(self, points: list[Point], fill: Color) -> None:
        """Fill a polygon; points are (x, y) in final pixels."""
        self.draw.polygon(self._points(points), fill=fill)

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, fill: Color) -> None:
        """Fill a rectangle from its upper left corner to its lower right one, in final pixels."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill)

    def circle(self, x: float, y: float, r: float, fill: Color) -> None:
        """Fill a circle of radius r around (x, y), in final pixels."""
        self.draw.ellipse(self._points([(x - r, y - r), (x + r, y + r)]), fill=fill)

    def line(self, points: list[Point], fill: Color, width: float) -> None:
        """Draw a line through points; its width is in final pixels."""
        self.draw.line(self._points(points), fill=fill, width=round(width * SUPERSAMPLE))


def _regular(x: float, y: float, radii: list[float], turn: float) -> list[Point]:
    step = 2 * math.pi / len(radii)
    return [
        (x + r * math.cos(turn + i * step), y + r * math.sin(turn + i * step)) for i, r in enumerate(radii)
    ]


def shape_polygon(name: str, x: float, y: float, r: float) -> list[Point]:
    """Outline of a shape of radius r around (x, y); a ring is its outer circle."""
    if name == "square":
        s = 0.86 * r
        return [(x - s, y - s), (x + s, y - s), (x + s, y + s), (x - s, y + s)]
    if name == "triangle":
        return [(x, y - 0.95 * r), (x + r, y + 0.8 * r), (x - r, y + 0.8 * r)]
    if name == "diamond":
        return [(x, y - 1.05 * r), (x + 0.68 * r, y), (x, y + 1.05 * r), (x - 0.68 * r, y)]
    if name == "star":
        return _regular(x, y, [1.1 * r, 0.45 * r] * 5, -math.pi / 2)
    if name == "cross":
        a, b = r, 0.34 * r
        return [
            (x - b, y - a), (x + b, y - a), (x + b, y - b), (x + a, y - b),
            (x + a, y + b), (x + b, y + b), (x + b, y + a), (x - b, y + a),
            (x - b, y + b), (x - a, y + b), (x - a, y - b), (x - b, y - b),
        ]  # fmt: skip
    if name == "heart":
        turns = [2 * math.pi * i / 48 for i in range(48)]
        return [
            (
                x + r * 0.0625 * 16 * math.sin(t) ** 3,
                y
                - r
                * 0.0625
                * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)),
            )
            for t in turns
        ]
    if name in ("circle", "ring"):
        return _regular(x, y, [r] * 64, 0.0)
    raise ValueError(f"unknown shape {name!r}")


SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond", "cross", "ring")


def draw_shape(canvas: Canvas, name: str, x: float, y: float, r: float, fill: Color, ground: Color) -> None:
    """A filled shape; the ring's hole shows the ground's colour."""
    canvas.polygon(shape_polygon(name, x, y, r), fill)
    if name == "ring":
        canvas.circle(x, y, 0.58 * r, ground)


def darker(color: Color) -> Color:
    """The colour at 55% of its brightness, as shoes have it."""
    r, g, b = (int(0.55 * c) for c in color)
    return r, g, b


def draw_doll(
    canvas: Canvas, x: float, y: float, h: float, skin: Color, top: Color | None, bottom: Color | None
) -> None:
    """A doll with its feet at y and height h; a garment of None leaves that part uncovered."""
    u = h / 10
    upper, lower = top or skin, bottom or skin
    shoe = darker(lower) if bottom else skin
    canvas.rectangle(x - 1.5 * u, y - 4.2 * u, x - 0.2 * u, y, lower)
    canvas.rectangle(x + 0.2 * u, y - 4.2 * u, x + 1.5 * u, y, lower)
    canvas.rectangle(x - 1.5 * u, y - 4.6 * u, x + 1.5 * u, y - 3.4 * u, lower)
    if bottom:
        canvas.rectangle(x - 1.5 * u, y - 0.6 * u, x - 0.2 * u, y, shoe)
        canvas.rectangle(x + 0.2 * u, y - 0.6 * u, x + 1.5 * u, y, shoe)
    canvas.rectangle(x - 2.5 * u, y - 7.6 * u, x - 1.6 * u, y - 4.4 * u, skin)
    canvas.rectangle(x + 1.6 * u, y - 7.6 * u, x + 2.5 * u, y - 4.4 * u, skin)
    if top:
        canvas.rectangle(x - 2.5 * u, y - 7.7 * u, x + 2.5 * u, y - 6.3 * u, upper)
    canvas.rectangle(x - 1.6 * u, y - 7.7 * u, x + 1.6 * u, y - 4.5 * u, upper)
    canvas.circle(x, y - 8.8 * u, 1.2 * u, skin)


# The colour of a prop or pictogram is chosen with the scene. Anything with a colour of its own would tie
# that colour to harm or to safety, and a reward would then judge shirts by it.
WHITE, WOOD, STEEL = (250, 250, 250), (120, 84, 50), (120, 122, 128)


def _blade(c: Canvas, x: float, y: float, s: float, fill: Color) -> None:
    c.polygon(
        [(x - 0.35 * s, y), (x - 0.35 * s, y - 1.5 * s), (x + 0.4 * s, y - 0.7 * s), (x + 0.4 * s, y)],
        (150, 158, 170),
    )
    c.rectangle(x - 0.5 * s, y, x + 0.55 * s, y + 0.25 * s, fill)
    c.rectangle(x - 0.25 * s, y + 0.25 * s, x + 0.3 * s, y + 0.9 * s, WOOD)
    c.circle(x + 0.95 * s, y - 0.5 * s, 0.32 * s, fill)


def _skull(c: Canvas, x: float, y: float, s: float, fill: Color) -> None:
    bone = (240, 238, 225)
    c.circle(x, y - 0.2 * s, s, bone)
    c.rectangle(x - 0.55 * s, y + 0.3 * s, x + 0.55 * s, y + 1.15 * s, bone)
    c.circle(x - 0.4 * s, y - 0.15 * s, 0.26 * s, fill)
    c.circle(x + 0.4 * s, y - 0.15 * s, 0.26 * s, fill)
    c.rectangle(x - 0.04 * s, y + 0.7 * s, x + 0.04 * s, y + 1.15 * s, fill)


def _banner(c: Canvas, x: float, y: float, s: float, fill: Color) -> None:
    c.rectangle(x - 0.1 * s, y - 0.2 * s, x + 0.1 * s, y + 1.5 * s, WOOD)
    c.rectangle(x - 1.2 * s, y - 1.1 * s, x + 1.2 * s, y + 0.1 * s, fill)
    for i in (-0.75, 0.0, 0.75):
        c.polygon(
            [(x + (i - 0.3) * s, y - 0.08 * s), (x + i * s, y - 0.95 * s), (x + (i + 0.3) * s, y - 0.08 * s)],
            WHITE,
        )


def _arrow(c: Canvas, x: float, y: float, s: float, fill: Color) -> None:
    """Points towards positive x for s > 0, towards negative x for s < 0."""
    h = abs(s)
    c.rectangle(min(x - s, x), y - 0.25 * h, max(x - s, x), y + 0.25 * h, fill)
    c.polygon([(x, y - 0.8 * h), (x + 0.8 * s, y), (x, y + 0.8 * h)], fill)


def _arrows(c: Canvas, x: float, y: float, s: float, fill: Color) -> None:
    _arrow(c, x - 2.1 * s, y, s, fill)
    _arrow(c, x + 2.1 * s, y, -s, fill)


def _bottle(c: Canvas, x: float, y: float, s: float, fill: Color) -> None:
    c.rectangle(x - 0.55 * s, y - 0.7 * s, x + 0.55 * s, y + 0.6 * s, fill)
    c.rectangle(x - 0.65 * s, y - 1.15 * s, x + 0.65 * s, y - 0.7 * s, WHITE)
    for dx, dy in ((-0.8, 0.9), (-0.25, 1.0), (0.35, 0.95), (0.9, 0.85)):
        c.circle(x + dx * s, y + dy * s, 0.27 * s, WHITE)


def _bomb(c: Canvas, x: float, y: float, s: float, fill: Color) -> None:
    c.circle(x, y + 0.2 * s, s, fill)
    c.rectangle(x - 0.3 * s, y - 1.0 * s, x + 0.3 * s, y - 0.6 * s, fill)
    c.line([(x, y - 0.9 * s), (x + 0.5 * s, y - 1.4 * s)], WOOD, 0.2 * s)
    c.polygon(_regular(x + 0.6 * s, y - 1.5 * s, [0.45 * s, 0.18 * s] * 5, 0.0), WHITE)


def _tree(c: Canvas, x: float, y: float, s: float, fill: Color) -> None:
    c.rectangle(x - 0.2 * s, y - 0.2 * s, x + 0.2 * s, y + 1.2 * s, WOOD)
    c.circle(x, y - 0.6 * s, 0.95 * s, fill)


def _ball(c: Canvas, x: float, y: float, s: float, fill: Color) -> None:
    c.circle(x, y + 0.5 * s, 0.7 * s, WHITE)
    c.polygon(
        [
            (x - 0.7 * s, y + 0.4 * s),
            (x + 0.7 * s, y + 0.4 * s),
            (x + 0.66 * s, y + 0.75 * s),
            (x - 0.66 * s, y + 0.75 * s),
        ],
        fill,
    )


def _flower(c: Canvas, x: float, y: float, s: float, fill: Color) -> None:
    c.rectangle(x - 0.08 * s, y, x + 0.08 * s, y + 1.1 * s, WOOD)
    for px, py in _regular(x, y - 0.2 * s, [0.45 * s] * 5, -math.pi / 2):
        c.circle(px, py, 0.32 * s, fill)
    c.circle(x, y - 0.2 * s, 0.28 * s, WHITE)


def _lamp(c: Canvas, x: float, y: float, s: float, fill: Color) -> None:
    c.rectangle(x - 0.1 * s, y - 0.6 * s, x + 0.1 * s, y + 1.2 * s, STEEL)
    c.circle(x, y - 0.8 * s, 0.5 * s, fill)


Painter = Callable[[Canvas, float, float, float, Color], None]
PICTOGRAMS: dict[str, Painter] = {
    "violence": _blade,
    "shocking": _skull,
    "hate": _banner,
    "harassment": _arrows,
    "self-harm": _bottle,
    "illegal activity": _bomb,
}
PROPS: dict[str, Painter] = {"tree": _tree, "ball": _ball, "flower": _flower, "lamp": _lamp}
