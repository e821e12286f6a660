"""Draws how steering works, step by step, from embeddings of World: docs/images/steering-1.png to -4.png.

    python benchmarks/steering_figure.py

The prompt z and the safety direction v span a plane, in which the steered prompt stays, so the figures show
every cosine with it as it is. steering.json beside them holds the numbers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from torch import Tensor
from training_runs import markdown

from safediffusion.config import load_config
from safediffusion.files.atomic import write_json
from safediffusion.report.plots import LOOK, PALETTE, save_png
from safediffusion.steering.anchors import load_safety_policy
from safediffusion.steering.direction import SafetyDirection
from safediffusion.steering.encoders import load_encoder
from safediffusion.world.scenes import harmless, make_harm, place_shapes, plain_ground, render

IMAGES = Path(__file__).parents[1] / "docs/images"
NUMBERS = IMAGES / "steering.json"
PROMPT = "two rivals meet in the park"  # a wording that sounds harmless, of category violence
ALPHAS = np.linspace(0, 4, 33)
COLORS = {
    "a blade": PALETTE["unsafe"],
    "nothing harmful": PALETTE["after"],
    "a red square": PALETTE["benign"],
}
Point = tuple[float, float]


@dataclass(frozen=True)
class Steps:
    """The numbers of the figures; points are (cosine with v, cosine with the rest of the prompt).

    Attributes:
        alpha: of recipe `world`.
        safe, unsafe: points of the anchor phrases.
        prompt: points of the steered prompt, by ALPHAS.
        pictures: points of the pictures, by what they show.
    """

    alpha: float
    safe: list[Point]
    unsafe: list[Point]
    prompt: list[Point]
    pictures: dict[str, Point]

    def score(self, picture: str, at: Point) -> float:
        """The reward of a picture: its cosine with the steered prompt, which lies in the plane."""
        return float(np.dot(self.pictures[picture], at))

    def at(self, alpha: float) -> Point:
        """The prompt steered by one of ALPHAS."""
        return self.prompt[int(np.argmin(np.abs(ALPHAS - alpha)))]


def pictures() -> dict[str, np.ndarray]:
    """A scene with a blade, the same with a harmless thing instead, and a scene that ignores the prompt."""
    rng = np.random.default_rng
    harm = make_harm(rng(0), "violence", "park")
    square = replace(plain_ground(rng(0)), shapes=place_shapes(rng(0), [("square", "red")]))
    return dict(zip(COLORS, map(render, (harm, harmless(rng(0), harm), square)), strict=True))


def measure() -> Steps:
    """All numbers, from World's reward CLIP and the anchors and alpha of recipe `world`."""
    reward = load_config("world").reward
    encoder = load_encoder(reward.encoder)
    direction = SafetyDirection.from_anchors(encoder, load_safety_policy(reward.anchors, reward.encoder))
    v, z = direction.vector, encoder.text([PROMPT])
    plane = torch.stack([v, F.normalize(z[0] - (z[0] @ v) * v, dim=0)], 1)  # (d, 2)

    def points(rows: Tensor) -> list[Point]:
        return [(round(x, 4), round(y, 4)) for x, y in (rows @ plane).tolist()]

    images = torch.from_numpy(np.stack(list(pictures().values()))).permute(0, 3, 1, 2) / 255
    moved = torch.cat([direction.steer(z, float(alpha)) for alpha in ALPHAS])
    return Steps(
        reward.alpha,
        points(encoder.text(direction.policy.safe)),
        points(encoder.text(direction.policy.unsafe)),
        points(moved),
        dict(zip(COLORS, points(encoder.image(images)), strict=True)),
    )


def read_steps() -> Steps:
    """The numbers that the figures in docs/ were drawn from."""
    return Steps(**json.loads(NUMBERS.read_text(encoding="utf-8")))


def score_table(steps: Steps) -> str:
    """The reward of each picture for the prompt as it is and for the steered prompt."""
    alphas = (0.0, 0.5, steps.alpha, float(ALPHAS[-1]))
    rows = [(name, *(f"{steps.score(name, steps.at(a)):.2f}" for a in alphas)) for name in steps.pictures]
    return markdown(("the picture shows", *(f"alpha {alpha:g}" for alpha in alphas)), rows)


def plane(axes: Axes) -> None:
    """The unit circle with the axes of the plane."""
    turn = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(turn), np.sin(turn), color=PALETTE["rule"], linewidth=1)
    axes.set(xlim=(-1.12, 1.12), ylim=(-0.38, 1.12), aspect="equal")
    axes.set_xlabel("cosine with the safety direction v  (right: safe)")
    axes.set_ylabel("cosine with the rest of the prompt")


def scatter(axes: Axes, steps: Steps, strength: float) -> None:
    """The anchor phrases, each side in its colour."""
    for side, color in (("safe", PALETTE["after"]), ("unsafe", PALETTE["unsafe"])):
        x, y = np.transpose(getattr(steps, side))
        axes.scatter(x, y, s=16, color=color, alpha=strength, linewidths=0)


def note(axes: Axes, text: str, at: Point, color: str, **how: Any) -> None:
    """A word at a point, centred if nothing else is said."""
    look: dict[str, Any] = {"ha": "center", "va": "center"} | how
    axes.text(*at, text, color=color, **look)


def arrow(axes: Axes, start: Point, end: Point, color: str) -> None:
    """An arrow between two points."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 1.6})


def draw_anchors(axes: Axes, steps: Steps) -> None:
    """Step 1: safe and unsafe phrases, and the direction between their means."""
    plane(axes)
    scatter(axes, steps, 0.8)
    left, low = np.mean(steps.unsafe, 0)
    right, high = np.mean(steps.safe, 0)
    arrow(axes, (left, low), (right, high), PALETTE["ink"])
    note(axes, "v", ((left + right) / 2, (low + high) / 2 + 0.08), PALETTE["ink"], weight="bold")
    note(axes, f"{len(steps.unsafe)} unsafe phrases", (left, low - 0.3), PALETTE["unsafe"])
    note(axes, f"{len(steps.safe)} safe phrases", (right - 0.1, high - 0.3), PALETTE["after"])


def draw_prompt(axes: Axes, steps: Steps) -> None:
    """Step 2: the prompt is moved along v, and stays on the circle."""
    plane(axes)
    scatter(axes, steps, 0.25)
    path = np.array(
        [point for point, alpha in zip(steps.prompt, ALPHAS, strict=True) if alpha <= steps.alpha]
    )
    axes.plot(*path.T, color=PALETTE["benign"], linewidth=2.2)
    for alpha in (0.0, 0.5, 1.0, steps.alpha):
        x, y = steps.at(alpha)
        axes.scatter([x], [y], s=34, color=PALETTE["benign"], zorder=3)
        label = PROMPT.replace(" in ", "\nin ") if alpha == 0 else f"alpha {alpha:g}"
        note(
            axes, label, (x * 0.86, y * 0.86), PALETTE["benign"], ha="right" if x < 0 else "center", va="top"
        )


def thumbnail(axes: Axes, image: np.ndarray, at: Point, color: str, zoom: float) -> None:
    """A picture at a point of the axes, framed in its colour."""
    box = OffsetImage(image, zoom=zoom, interpolation="nearest")
    frame = {"edgecolor": color, "linewidth": 1.6, "boxstyle": "square,pad=0.08"}
    axes.add_artist(AnnotationBbox(box, at, bboxprops=frame))


def draw_pictures(axes: Axes, steps: Steps) -> None:
    """Step 3: pictures in the same plane; the nearer in direction, the higher the reward."""
    plane(axes)
    for alpha, color, label in ((0.0, "muted", "the prompt"), (steps.alpha, "benign", "steered prompt")):
        x, y = steps.at(alpha)
        arrow(axes, (0, 0), (x, y), PALETTE[color])
        note(axes, label, (x, y + 0.07), PALETTE[color])
    for name, image in pictures().items():
        thumbnail(axes, image, steps.pictures[name], COLORS[name], 0.55)


def draw_scores(axes: Axes, steps: Steps) -> None:
    """Step 4: the reward of each picture, by alpha."""
    lowest = -1.0  # where the next picture may stand beside its line
    for name, image in sorted(pictures().items(), key=lambda item: steps.score(item[0], steps.prompt[-1])):
        scores = [steps.score(name, point) for point in steps.prompt]
        axes.plot(ALPHAS, scores, color=COLORS[name], linewidth=2)
        height = max(scores[-1], lowest)
        thumbnail(axes, image, (ALPHAS[-1] + 0.42, height), COLORS[name], 0.5)
        lowest = height + 0.16
    axes.set_ylim(top=lowest - 0.05)
    axes.axvline(steps.alpha, color=PALETTE["muted"], linewidth=1, linestyle=":")
    top = axes.get_ylim()[1]
    axes.annotate(" recipe world", (steps.alpha, top), color=PALETTE["muted"], va="top")
    axes.set(xlim=(0, ALPHAS[-1] + 0.8), xticks=range(int(ALPHAS[-1]) + 1))
    axes.set_xlabel("alpha")
    axes.set_ylabel("reward: cosine with the steered prompt")


STEPS: tuple[Callable[[Axes, Steps], None], ...] = (draw_anchors, draw_prompt, draw_pictures, draw_scores)


def figure(draw: Callable[[Axes, Steps], None], steps: Steps) -> Figure:
    """One step as a figure."""
    with mpl.rc_context(LOOK):  # type: ignore[arg-type]
        drawn = Figure(figsize=(5.2, 3.9))
        draw(drawn.subplots(), steps)
    return drawn


def main() -> None:
    """Measure, draw, and write the numbers."""
    steps = measure()
    for number, draw in enumerate(STEPS, 1):
        save_png(figure(draw, steps), IMAGES / f"steering-{number}.png")
    write_json(NUMBERS, steps.__dict__)
    print(score_table(steps))


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
