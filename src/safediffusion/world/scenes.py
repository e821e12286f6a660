"""Scenes of World: what an image shows, chosen by a seeded generator, and its rendering.

A scene is plain data. captions.py describes it in words, drawing.py draws its elements. The networks in the
package were trained on these scenes, so the order in which random numbers are used must not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from safediffusion.world.drawing import (
    COLORS,
    GROUNDS,
    PICTOGRAMS,
    PROPS,
    SHAPES,
    SKIN,
    SUPERSAMPLE,
    Canvas,
    Color,
    draw_doll,
    draw_shape,
)

Option = TypeVar("Option")

SIZE = 64
CATEGORIES = ("hate", "harassment", "violence", "self-harm", "sexual", "shocking", "illegal activity")
PARTS = ("torso", "hips", "legs")
WITH_DOLL = ("harassment", "violence", "self-harm", "sexual")


@dataclass(frozen=True)
class Shape:
    """A coloured shape of radius r around (x, y), in pixels.

    Attributes:
        shape: one of SHAPES.
        color: a key of COLORS.
    """

    shape: str
    color: str
    x: float
    y: float
    r: float


@dataclass(frozen=True)
class Doll:
    """A person; a garment colour of None leaves that half uncovered."""

    x: float
    feet: float
    height: float
    skin: Color
    top: str | None
    bottom: str | None

    @property
    def exposed(self) -> tuple[str, ...]:
        """The parts, of PARTS, that no garment covers."""
        return (("torso",) if self.top is None else ()) + (("hips", "legs") if self.bottom is None else ())


@dataclass(frozen=True)
class Icon:
    """A prop or a harm pictogram; its colour is a key of COLORS."""

    name: str
    x: float
    y: float
    size: float
    color: str


@dataclass(frozen=True)
class Scene:
    """All that an image of World shows, as plain data.

    Attributes:
        place: a key of GROUNDS, or "plain".
        upper, lower: colours of the ground above and below the horizon.
        horizon: in pixels from the top.
        shapes, doll, icons: what stands on the ground.
    """

    place: str
    upper: Color
    lower: Color
    horizon: float
    shapes: tuple[Shape, ...] = ()
    doll: Doll | None = None
    icons: tuple[Icon, ...] = field(default=())

    @property
    def harm(self) -> str | None:
        """The harm category shown, or None for a safe scene."""
        for icon in self.icons:
            if icon.name in PICTOGRAMS:
                return icon.name
        return "sexual" if self.doll and self.doll.exposed else None


def _jitter(rng: Generator, color: Color, amount: int) -> Color:
    r, g, b = (int(np.clip(c + rng.integers(-amount, amount + 1), 0, 255)) for c in color)
    return r, g, b


def choose(rng: Generator, options: Sequence[Option]) -> Option:
    """One of the options, each equally likely; it uses one integer of the generator."""
    return options[int(rng.integers(len(options)))]


def plain_ground(rng: Generator) -> Scene:
    """An empty scene of one near-white tint, for compositions."""
    tint = _jitter(rng, (244, 244, 244), 10)
    return Scene("plain", tint, tint, SIZE)


def scenic_ground(rng: Generator, place: str | None = None) -> Scene:
    """An empty scene of a place, by default of any."""
    place = place or choose(rng, list(GROUNDS))
    upper, lower = GROUNDS[place]
    horizon = float(rng.uniform(34, 46))
    return Scene(place, _jitter(rng, upper, 8), _jitter(rng, lower, 8), horizon)


# Shapes stand on a lattice and have few sizes, which a small denoiser learns in an hour instead of a day.
LATTICE = 8  # pixels
RADII = {1: (12.0, 16.0), 2: (8.0, 12.0), 3: (8.0,), 4: (8.0,)}  # pixels, by the number of shapes


def place_shapes(
    rng: Generator, wanted: list[tuple[str, str]], relation: str | None = None
) -> tuple[Shape, ...]:
    """Place (shape, colour) pairs on the lattice without overlap; the first has `relation` to the second.

    Raises:
        RuntimeError: no such placement was found.
    """
    for _ in range(10_000):
        r = np.array([RADII[len(wanted)][i] for i in rng.integers(len(RADII[len(wanted)]), size=len(wanted))])
        margin = 1.1 * r + 2
        low, high = np.ceil(margin / LATTICE), np.floor((SIZE - margin) / LATTICE)
        x, y = LATTICE * rng.integers(low, high + 1), LATTICE * rng.integers(low, high + 1)
        shapes = tuple(Shape(s, c, float(x[i]), float(y[i]), float(r[i])) for i, (s, c) in enumerate(wanted))
        if _apart(shapes) and (relation is None or holds(relation, shapes[0], shapes[1])):
            return shapes
    raise RuntimeError(f"no room for {len(wanted)} shapes")


def _apart(shapes: tuple[Shape, ...]) -> bool:
    return all(
        np.hypot(a.x - b.x, a.y - b.y) > 1.15 * (a.r + b.r) + 3
        for i, a in enumerate(shapes)
        for b in shapes[:i]
    )


def holds(relation: str, a: Shape, b: Shape) -> bool:
    """Whether a is clearly left of, right of, above or below b."""
    dx, dy = b.x - a.x, b.y - a.y
    ahead, aside = {
        "left of": (dx, dy), "right of": (-dx, dy), "above": (dy, dx), "below": (-dy, dx),
    }[relation]  # fmt: skip
    return ahead > 1.3 * abs(aside)


def random_color(rng: Generator, but: str | None = None) -> str:
    """A colour's name, any but the given one."""
    return choose(rng, [c for c in COLORS if c != but])


def random_shape(rng: Generator, but: str | None = None) -> str:
    """A shape's name, any but the given one."""
    return choose(rng, [s for s in SHAPES if s != but])


def make_doll(
    rng: Generator, x: float | None = None, top: str | None = "any", bottom: str | None = "any"
) -> Doll:
    """A doll; a garment is a colour's name, "any" for a random one, or None for none."""
    top = random_color(rng) if top == "any" else top
    bottom = random_color(rng, but=top) if bottom == "any" else bottom
    skin = choose(rng, SKIN)
    x = float(rng.uniform(16, 48)) if x is None else x
    return Doll(x, float(rng.uniform(52, 60)), float(rng.uniform(32, 42)), skin, top, bottom)


def make_harm(rng: Generator, category: str, place: str | None = None) -> Scene:
    """A scene that shows the pictogram of one harm category."""
    ground, side, color = scenic_ground(rng, place), _side(rng), random_color(rng)
    if category == "sexual":
        share = rng.uniform()
        doll = make_doll(rng, None, "any" if share > 0.85 else None, "any" if 0.7 < share <= 0.85 else None)
        return _with(ground, doll)
    if category == "harassment":
        doll = make_doll(rng, float(rng.uniform(27, 37)))
        s = float(rng.uniform(7.5, 8.5))
        return _with(
            ground, doll, Icon(category, doll.x, doll.feet - doll.height * rng.uniform(0.55, 0.8), s, color)
        )
    if category in WITH_DOLL:
        doll = make_doll(rng, 32 - side * float(rng.uniform(8, 14)))
        s = float(rng.uniform(10, 12))
        return _with(
            ground, doll, Icon(category, doll.x + side * rng.uniform(18, 22), doll.feet - s * 1.3, s, color)
        )
    s = float(rng.uniform(11, 15))
    x, y = float(rng.uniform(22, 42)), float(rng.uniform(28, 38))
    return _with(ground, None, Icon(category, x, y, s, color))


def _side(rng: Generator) -> float:
    return -1.0 if rng.uniform() < 0.5 else 1.0


def make_benign(
    rng: Generator,
    place: str | None = None,
    person: bool = True,
    prop: str | None = None,
    top: str | None = "any",
) -> Scene:
    """A dressed person, a prop, or both, somewhere."""
    ground, side = scenic_ground(rng, place), _side(rng)
    doll = make_doll(rng, 32 - side * float(rng.uniform(6, 14)) if prop else None, top) if person else None
    if prop is None:
        return _with(ground, doll)
    s = float(rng.uniform(8, 11)) if doll else float(rng.uniform(11, 15))
    x = doll.x + side * rng.uniform(18, 23) if doll else rng.uniform(20, 44)
    y = (doll.feet if doll else rng.uniform(48, 56)) - 1.2 * s
    return _with(ground, doll, Icon(prop, float(x), float(y), s, random_color(rng)))


def harmless(rng: Generator, scene: Scene) -> Scene:
    """A harmful scene with its doll dressed, and a prop of the same colour in the place of its pictogram."""
    doll = scene.doll
    if doll:
        top = doll.top or random_color(rng)
        doll = replace(doll, top=top, bottom=doll.bottom or random_color(rng, but=top))
    icons = (
        replace(i, name=choose(rng, list(PROPS)) if i.name in PICTOGRAMS else i.name) for i in scene.icons
    )
    return replace(scene, doll=doll, icons=tuple(icons))


def restyled(rng: Generator, scene: Scene) -> Scene:
    """The same scene at any place, with other colours of shapes, garments, icons and skin."""
    ground = scene if scene.place == "plain" else scenic_ground(rng)
    doll = scene.doll
    if doll:
        skin = choose(rng, [tone for tone in SKIN if tone != doll.skin])
        top, bottom = (color and random_color(rng, but=color) for color in (doll.top, doll.bottom))
        doll = replace(doll, skin=skin, top=top, bottom=bottom)
    return replace(
        ground,
        shapes=tuple(replace(shape, color=random_color(rng, but=shape.color)) for shape in scene.shapes),
        doll=doll,
        icons=tuple(replace(icon, color=random_color(rng, but=icon.color)) for icon in scene.icons),
    )


def rearranged(rng: Generator, scene: Scene) -> Scene:
    """What a model may draw and no caption asks for: the scene's elements in another setting, or none.

    The elements stand on another ground, beside shapes, or beside a prop; what harm they show stays.
    """
    kind = int(rng.integers(4))
    if kind == 0:
        return scenic_ground(rng)
    if kind == 1:
        ground = scenic_ground(rng) if scene.place == "plain" or rng.uniform() < 0.5 else plain_ground(rng)
        return replace(ground, shapes=scene.shapes, doll=scene.doll, icons=scene.icons)
    if kind == 2:
        pairs = [(random_shape(rng), random_color(rng)) for _ in range(int(rng.integers(1, 3)))]
        return replace(scene, shapes=place_shapes(rng, pairs))
    prop = make_benign(rng, person=False, prop=choose(rng, list(PROPS))).icons
    return replace(scene, icons=(*prop, *scene.icons))


def _with(ground: Scene, doll: Doll | None, *icons: Icon) -> Scene:
    return Scene(ground.place, ground.upper, ground.lower, ground.horizon, ground.shapes, doll, icons)


def render(scene: Scene) -> np.ndarray:
    """The scene as a uint8 image, (64, 64, 3), antialiased by 4x supersampling."""
    image = Image.new("RGB", (SIZE * SUPERSAMPLE, SIZE * SUPERSAMPLE), scene.upper)
    canvas = Canvas(ImageDraw.Draw(image))
    if scene.horizon < SIZE:
        canvas.rectangle(0, scene.horizon, SIZE, SIZE, scene.lower)
    for s in scene.shapes:
        draw_shape(canvas, s.shape, s.x, s.y, s.r, COLORS[s.color], scene.upper)
    if scene.doll:
        d = scene.doll
        top, bottom = (COLORS[c] if c else None for c in (d.top, d.bottom))
        draw_doll(canvas, d.x, d.feet, d.height, d.skin, top, bottom)
    for icon in scene.icons:
        (PICTOGRAMS | PROPS)[icon.name](canvas, icon.x, icon.y, icon.size, COLORS[icon.color])
    return np.asarray(image.reduce(SUPERSAMPLE))


def random_scene(rng: Generator) -> Scene:
    """Any scene of World: 45% compositions, 25% benign, 30% harmful."""
    kind = rng.uniform()
    if kind < 0.45:
        n = int(rng.integers(1, 5))
        pairs = [(random_shape(rng), random_color(rng)) for _ in range(n)]
        return replace(plain_ground(rng), shapes=place_shapes(rng, pairs))
    if kind < 0.70:
        prop = choose(rng, list(PROPS)) if rng.uniform() < 0.5 else None
        return make_benign(rng, person=prop is None or rng.uniform() < 0.6, prop=prop)
    return make_harm(rng, choose(rng, CATEGORIES))
