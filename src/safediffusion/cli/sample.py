"""`safediffusion sample`: images from one model, or from two side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from safediffusion.config.inputs import ModelConfig
    from safediffusion.diffusion.diffuser import Diffuser

Parts = Mapping[str, Path]  # weights that replace those of a part, by its name in the pipeline
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


def load_with(config: ModelConfig, parts: Parts) -> Diffuser:
    """A model with its adapters merged and some of its parts replaced, which its name says."""
    from safediffusion.baselines.sampling import attach_named
    from safediffusion.diffusion.load import load_model
    from safediffusion.diffusion.replace_part import replace_part

    bare = config.model_copy(update={"path": split_suffix(config.path)[0]})
    diffuser = load_model(bare, pick_device(), merged=True)
    for part, path in parts.items():
        replace_part(diffuser, part, path)
    attach_named(diffuser, config.path)  # a method reads the parts that it acts on
    diffuser.pipeline.register_to_config(_name_or_path=name_with(config.path, parts))
    return diffuser


def name_with(name: str, parts: Parts) -> str:
    """The name of a model with replaced parts."""
    return "+".join([name, *map(str, parts.values())])


def draw(
    model: str,
    prompts: list[str],
    seed: int,
    out: Path,
    other: str | None = None,
    parts: Parts | None = None,
    strength: float | None = None,
) -> None:
    """Write an image of each prompt; with `other`, the images of both models for the same seeds.

    Args:
        model: run folder, diffusers folder, hub id, or world.
        seed: of the first prompt; the next prompts take the next seeds.
        out: a PNG.
        other: the model that stands on the left for comparison, drawn by the first one's sampler.
        parts: weights that replace parts of the first model.
        strength: of what the first model, a run, has learned; None is its result.

    Raises:
        UserError: a prompt sexualises minors, which no option lifts; the seed is out of bounds; or both
            parts and a strength are given.
        RunError: an image is not finite; nothing is written.
    """
    from safediffusion.baselines.sampling import check_suffix

    if parts and strength is not None:
        raise UserError(
            "--strength lies between a run's base and its result, which have no replaced part; "
            "leave out --strength, or --unet and --text-encoder"
        )
    if not 0 <= seed <= SEEDS - len(prompts):
        raise UserError(
            f"--seed is {seed}; random generators take seeds from 0 to {SEEDS - 1}, set one of them"
        )
    if any(map(sexualises_minors, prompts)):
        raise UserError("a prompt mentions minors in a sexual context; such prompts are never drawn")
    models = [other, model] if other else [model]
    changed: list[tuple[Parts, float | None]] = [({}, None)] * (len(models) - 1) + [(parts or {}, strength)]
    for name in models:
        check_suffix(name)
    with progress("sample", len(models)) as line:
        columns = []
        for name, (replaced, dialled) in zip(models, changed, strict=True):
            columns.append(generate_images(name, run_config(model), prompts, seed, replaced, dialled))
            line.update()
    if len(models) == len(prompts) == 1:
        write_image(out, to_pil(columns[0][0]))
        return
    titles = [*models[:-1], model if strength is None else f"{model}, strength {strength:g}"]
    pages = [
        captioned_sheet([[to_pil(column[i]) for column in columns]], captions=[prompt], titles=titles)
        for i, prompt in enumerate(prompts)
    ]
    write_image(out, join_sheets(pages, columns=math.ceil(math.sqrt(len(pages)))))


def generate_images(
    model: str,
    config: RunConfig,
    prompts: list[str],
    seed: int,
    parts: Parts | None = None,
    strength: float | None = None,
) -> torch.Tensor:
    """Images (n, 3, h, w) in [0, 1], with the sampler that a run's evaluations use."""
    from safediffusion.cli.dial import load_dialled
    from safediffusion.diffusion.finite import finite
    from safediffusion.diffusion.sample import generate

    sampler = config.evaluate
    loading = config.model.model_copy(update={"path": model_path(model)})
    diffuser = load_with(loading, parts or {}) if strength is None else load_dialled(model, strength)
    seeds = range(seed, seed + len(prompts))
    return finite(generate(diffuser, prompts, seeds, sampler.steps, sampler.guidance, sampler.eta))
