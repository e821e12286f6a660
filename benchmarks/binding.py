"""Does a base model of World know which word belongs to which? Its own denoising says so, without sampling.

    python benchmarks/binding.py [MODEL] [--n 256]

Renders are noised and predicted under their own caption and under one in which the colours are exchanged, the
relation is reversed, or another shape is named. A model that binds predicts better under the caption that is
right (a diffusion classifier: Li et al., 2023, arXiv 2303.16203); one that reads a bag of words is right in
half of the cases. And of the text states it reads: the share of their variance, at the second shape's token,
that the words before it explain. Writes results/binding.json.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from training_runs import markdown, write_result

from safediffusion.diffusion.load import load_model
from safediffusion.statistics.intervals import wilson
from safediffusion.world.captions import RELATIONS, article, composition_row
from safediffusion.world.networks.images import render_batch
from safediffusion.world.scenes import Scene, choose, place_shapes, plain_ground, random_color, random_shape

SEED, NOISES = 7, 2
TIMESTEPS = (300, 500, 700, 850)
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def right_and_wrong(rng: Generator, task: str) -> tuple[Scene, str, str]:
    """A scene of two shapes, its caption, and a caption of the same task that is wrong."""
    a, color_a = random_shape(rng), random_color(rng)
    b, color_b = random_shape(rng, but=a), random_color(rng, but=color_a)
    relation = choose(rng, RELATIONS) if task == "position" else None
    shapes = place_shapes(rng, [(a, color_a), (b, color_b)], relation)
    scene = replace(plain_ground(rng), shapes=shapes)
    if relation:
        right, wrong = (f"a photo of a {a} {r} a {b}" for r in (relation, OPPOSITE[relation]))
        return scene, right, wrong
    if task == "color_attr":
        one, other = article(color_a), article(color_b)
        return scene, f"a photo of {one} {a} and {other} {b}", f"a photo of {other} {a} and {one} {b}"
    c = random_shape(rng, but=b)
    while c == a:
        c = random_shape(rng, but=b)
    return scene, f"a photo of a {a} and a {b}", f"a photo of a {a} and a {c}"


@torch.no_grad()
def errors(model: Any, clean: Tensor, captions: list[str], timestep: int) -> Tensor:
    """Squared error of the prediction, (n,), over NOISES draws of noise that depend on nothing but n."""
    cond = model.encode(captions)
    level = torch.full((len(clean),), timestep)
    total = torch.zeros(len(clean))
    for draw in range(NOISES):
        noise = torch.from_numpy(
            np.random.default_rng([SEED, draw]).standard_normal(clean.shape, dtype=np.float32)
        )
        noisy = model.process.add_noise(clean, noise, level)
        output = model.predict(noisy, model.process.timestep(level), cond, 1.0)
        difference = model.process.predicted(output, noisy, level) - model.process.target(clean, noise, level)
        total += difference.square().flatten(1).mean(1)
    return total


def measured(model: Any, task: str, n: int) -> dict[str, Any]:
    """Share of n renders that the right caption predicts better, by timestep."""
    rng = np.random.default_rng(SEED)
    scenes, right, wrong = zip(*(right_and_wrong(rng, task) for _ in range(n)), strict=True)
    vae = model.pipeline.vae
    with torch.no_grad():
        clean = vae.encode(render_batch(list(scenes)) * 2 - 1).latent_dist.mean * vae.config.scaling_factor
    found = {}
    for timestep in TIMESTEPS:
        better = errors(model, clean, list(right), timestep) < errors(model, clean, list(wrong), timestep)
        low, high = wilson(int(better.sum()), n)
        found[str(timestep)] = {"value": float(better.float().mean()), "ci_low": low, "ci_high": high}
    return found


def explained(values: Tensor, groups: list[str]) -> float:
    """Share of the variance of rows (n, d) that lies between their groups."""
    middle = values.mean(0)
    between = torch.zeros(())
    for name in set(groups):
        rows = values[[i for i, group in enumerate(groups) if group == name]]
        between += len(rows) * (rows.mean(0) - middle).square().sum()
    return float(between / (values - middle).square().sum())


def readable(model: Any, task: str, n: int) -> dict[str, float]:
    """What explains the text states at the last word of n captions: that word, and what belongs to it."""
    rng = np.random.default_rng(SEED)
    rows = [composition_row(rng, task) for _ in range(n)]
    captions = [row["prompt"] for row in rows]
    tokens = model.pipeline.tokenizer(captions, padding="max_length", truncation=True).input_ids
    end = model.pipeline.tokenizer.eos_token_id
    states = model.encode(captions).tokens
    last = torch.stack([state[ids.index(end) - 1] for state, ids in zip(states, tokens, strict=True)])
    belongs = [row["relation"] or row["include"][1]["color"] for row in rows]
    word = [row["include"][1]["shape"] for row in rows]
    return {"word": explained(last, word), "what belongs to it": explained(last, belongs)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="world")
    parser.add_argument("--n", type=int, default=256, help="renders per task")
    options = parser.parse_args()
    model = load_model(options.model, "cpu")
    result = {task: measured(model, task, options.n) for task in ("two_object", "position", "color_attr")}
    states = {task: readable(model, task, 8 * options.n) for task in ("position", "color_attr")}
    write_result("binding", {"model": options.model, "n": options.n, "right": result, "states": states})
    rows = [
        [task, *(f"{x['value']:.2f} [{x['ci_low']:.2f}, {x['ci_high']:.2f}]" for x in found.values())]
        for task, found in result.items()
    ]
    print(markdown(["task", *(f"t = {t}" for t in TIMESTEPS)], rows))
    for task, shares in states.items():
        print(
            f"{task}: variance explained by",
            ", ".join(f"{name} {share:.1%}" for name, share in shares.items()),
        )


if __name__ == "__main__":
    main()
