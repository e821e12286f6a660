"""`safediffusion sample`: images from one model, or from two side by side."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from safediffusion.baselines.suffix import split_suffix
from safediffusion.config import RunConfig, load_run_config
from safediffusion.errors import UserError
from safediffusion.files.atomic import write_image
from safediffusion.files.run_folder import RunFolder
from safediffusion.prompts.minors import sexualises_minors
from safediffusion.system.device import pick_device
from safediffusion.system.image_sheets import captioned_sheet, join_sheets, to_pil
from safediffusion.system.progress import progress

SEEDS = 2**64  # torch.Generator takes no more


def model_path(name: str) -> str:
    """A run folder stands for its model, with or without a suffix; anything else is taken as it is."""
    place, suffix = split_suffix(name)
    folder = RunFolder(Path(place))
    if not folder.config.is_file() or (folder.root / "model_index.json").is_file():
        return name
    if not folder.model.is_dir():
        raise UserError(
            f"{place} has no finished model; finish the run first: safediffusion train ... --out {place}"
        )
    return str(folder.model) + suffix


def run_config(name: str) -> RunConfig:
    """A run's own settings with its result as the model; the defaults for any other model."""
    path = model_path(name)
    run = RunFolder(Path(split_suffix(name)[0]))
    config = load_run_config(run.config) if path != name else RunConfig()
    return config.model_copy(update={"model": config.model.model_copy(update={"path": path})})


def draw(model: str, prompts: list[str], seed: int, out: Path, other: str | None = None) -> None:
    """Write an image of each prompt; with `other`, the images of both models for the same seeds.

    Args:
        model: run folder, diffusers folder, hub id, or world.
        seed: of the first prompt; the next prompts take the next seeds.
        out: a PNG.
        other: the model that stands on the left for comparison, drawn by the first one's sampler.

    Raises:
        UserError: a prompt sexualises minors, which no option lifts; or the seed is out of bounds.
        RunError: an image is not finite; nothing is written.
    """
    from safediffusion.baselines.sampling import check_suffix

    if not 0 <= seed <= SEEDS - len(prompts):
        raise UserError(
            f"--seed is {seed}; random generators take seeds from 0 to {SEEDS - 1}, set one of them"
        )
    if any(map(sexualises_minors, prompts)):
        raise UserError("a prompt mentions minors in a sexual context; such prompts are never drawn")
    models = [other, model] if other else [model]
    for name in models:
        check_suffix(name)
    with progress("sample", len(models)) as line:
        columns = []
        for name in models:
            columns.append(generate_images(name, run_config(model), prompts, seed))
            line.update()
    if len(models) == len(prompts) == 1:
        write_image(out, to_pil(columns[0][0]))
        return
    pages = [
        captioned_sheet([[to_pil(column[i]) for column in columns]], captions=[prompt], titles=models)
        for i, prompt in enumerate(prompts)
    ]
    write_image(out, join_sheets(pages, columns=math.ceil(math.sqrt(len(pages)))))


def generate_images(model: str, config: RunConfig, prompts: list[str], seed: int) -> torch.Tensor:
    """Images (n, 3, h, w) in [0, 1], with the sampler that a run's evaluations use."""
    from safediffusion.baselines.sampling import load_model
    from safediffusion.diffusion.finite import finite
    from safediffusion.diffusion.sample import generate

    sampler = config.evaluate
    loading = config.model.model_copy(update={"path": model_path(model)})
    diffuser = load_model(loading, pick_device(), merged=True)
    seeds = range(seed, seed + len(prompts))
    return finite(generate(diffuser, prompts, seeds, sampler.steps, sampler.guidance, sampler.eta))
