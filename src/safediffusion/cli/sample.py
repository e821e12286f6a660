"""`safediffusion sample`: images from one model, or from two side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import ValidationError

from safediffusion.baselines.suffix import split_suffix
from safediffusion.config import EvaluateConfig, RunConfig, load_run_config
from safediffusion.config.inputs import ModelConfig
from safediffusion.config.invalid import explain_invalid
from safediffusion.config.load import parse_words
from safediffusion.errors import UserError
from safediffusion.files.atomic import write_image
from safediffusion.files.run_folder import RunFolder
from safediffusion.prompts.minors import sexualises_minors
from safediffusion.system.device import pick_device
from safediffusion.system.image_sheets import captioned_sheet, join_sheets, to_pil
from safediffusion.system.progress import progress

if TYPE_CHECKING:
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


def run_config(name: str, load: Sequence[str] = ()) -> RunConfig:
    """A run's own settings; for any other model the defaults with it as `model.path`, without a suffix.

    Args:
        name: as the command line has it.
        load: key=value settings of the section `model`.

    Raises:
        UserError: one of them is not accepted.
    """
    place = split_suffix(name)[0]
    if model_path(name) != name:
        config = load_run_config(RunFolder(Path(place)).config)
    else:
        default = RunConfig()
        config = default.model_copy(update={"model": default.model.model_copy(update={"path": place})})
    return config.model_copy(update={"model": with_settings(config.model, load)}) if load else config


def with_settings(model: ModelConfig, load: Sequence[str]) -> ModelConfig:
    """A `model` section with some of its settings changed, see `run_config`."""
    given = parse_words(load)
    if "path" in given:
        raise UserError("--load says how a model is loaded, and path is the model itself; leave path out")
    try:
        return ModelConfig.model_validate(model.model_dump() | given)
    except ValidationError as error:
        raise UserError(f"--load: {explain_invalid(error)}") from error


def loading(config: RunConfig, name: str) -> ModelConfig:
    """How a model of the command line is loaded, by the settings of a run or of the command's first model."""
    place, suffix = split_suffix(model_path(name))
    model = config.model.at(place)
    return model.model_copy(update={"path": place + suffix}) if suffix else model


@dataclass(frozen=True)
class Changes:
    """What the command line changes about its first model.

    Attributes:
        parts: weights that replace some of its own.
        strength: of what a run has learned; None is its result.
        load: how it is loaded, see `run_config`.
    """

    parts: Parts = field(default_factory=dict)
    strength: float | None = None
    load: Sequence[str] = ()


@dataclass(frozen=True)
class Sampler:
    """What the command line says about the sampler; None leaves it as the run or the default has it."""

    steps: int | None = None
    guidance: float | None = None


def with_sampler(config: RunConfig, sampler: Sampler) -> RunConfig:
    """A configuration whose evaluations sample so.

    Raises:
        UserError: a number is not accepted.
    """
    given = {name: value for name, value in asdict(sampler).items() if value is not None}
    try:
        evaluate = EvaluateConfig.model_validate(config.evaluate.model_dump() | given)
    except ValidationError as error:
        raise UserError(f"--{explain_invalid(error)}") from error
    return config.model_copy(update={"evaluate": evaluate})


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
    changes: Changes | None = None,
    sampler: Sampler | None = None,
) -> None:
    """Write an image of each prompt; with `other`, the images of both models for the same seeds.

    Args:
        model: run folder, diffusers folder, hub id, or world.
        seed: of the first prompt; the next prompts take the next seeds.
        out: a PNG.
        other: the model that stands on the left for comparison, drawn by the first one's sampler.
        changes: of the first model.
        sampler: of both.

    Raises:
        UserError: a prompt sexualises minors, which no option lifts; a number is out of bounds; or both
            parts and a strength are given.
        RunError: an image is not finite; nothing is written.
    """
    from safediffusion.baselines.sampling import check_suffix

    changes = changes or Changes()
    if changes.parts and changes.strength is not None:
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
    for name in models:
        check_suffix(name)
    config = with_sampler(run_config(model, changes.load), sampler or Sampler())
    with progress("sample", len(models)) as line:
        columns = []
        for name, how in zip(models, [Changes(), changes][-len(models) :], strict=True):
            columns.append(generate_images(name, config, prompts, seed, how))
            line.update()
    if len(models) == len(prompts) == 1:
        write_image(out, to_pil(columns[0][0]))
        return
    dialled = "" if changes.strength is None else f", strength {changes.strength:g}"
    titles = [*models[:-1], model + dialled]
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
    changes: Changes | None = None,
) -> torch.Tensor:
    """Images (n, 3, h, w) in [0, 1], with the sampler that a run's evaluations use."""
    from safediffusion.cli.dial import load_dialled
    from safediffusion.diffusion.finite import finite
    from safediffusion.diffusion.sample import generate

    sampler = config.evaluate
    changes = changes or Changes()
    if changes.strength is None:
        diffuser = load_with(loading(config, model), changes.parts)
    else:
        diffuser = load_dialled(model, changes.strength, changes.load)
    seeds = range(seed, seed + len(prompts))
    return finite(generate(diffuser, prompts, seeds, sampler.steps, sampler.guidance, sampler.eta))
