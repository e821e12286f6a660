"""Reads the pipeline that `model.path` names: a folder, a single file, or either of them on the hub."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from safediffusion.config.inputs import ModelConfig
from safediffusion.diffusion.export import Source
from safediffusion.diffusion.hub_folder import local_path
from safediffusion.diffusion.layout import absent_parts, check_folder, choose_variant
from safediffusion.diffusion.single_file import read_single_file
from safediffusion.diffusion.trust import UNREADABLE, check_index, reason
from safediffusion.diffusion.weight_files import INDEX, UNUSED
from safediffusion.errors import UserError
from safediffusion.files.hashes import check_sums
from safediffusion.world import asset

Dtypes = Mapping[str, torch.dtype]  # of each part, and of all others as "default"
Options = Callable[[str], Mapping[str, Any]]  # arguments of the loader by the name of a pipeline's class


def read_pipeline(config: ModelConfig, dtypes: Dtypes, options: Options) -> tuple[Any, Source]:
    """The pipeline that `model.path` names, and what an export has to know of where it came from.

    Args:
        config: the `model` section.
        dtypes: precision of the parts.
        options: further arguments of from_pretrained and from_single_file.

    Raises:
        UserError: it is not there, not whole, or not a model that is read here.
    """
    place = asset("pipeline") if config.path == "world" else local_path(config)
    if place.is_file():
        read = partial(read_single_file, place, config, options)
        pipeline, source = read(), Source(again=read)
        for name, part in pipeline.components.items():
            if isinstance(part, torch.nn.Module):
                part.to(dtypes.get(name, dtypes["default"]))
    else:
        pipeline, source = read_folder(place, config, dtypes, options)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.register_to_config(_name_or_path=config.path)
    return pipeline, source


def read_folder(folder: Path, config: ModelConfig, dtypes: Dtypes, options: Options) -> tuple[Any, Source]:
    """The same of a folder.

    The safety checker, the feature extractor and the image encoder are left out, unless a family of the
    user's own may have a use for them.
    """
    check_folder(folder)
    refuse_file_settings(config)
    check_sums(folder)
    index = read_index(folder)
    name = check_index(index, folder)
    given = dict(options(name)) | dict.fromkeys(absent_parts(folder, index))
    if config.family is None:
        given |= dict.fromkeys(part for part in UNUSED if part in index)
    variant = choose_variant(folder, index, config.variant)
    try:
        pipeline = getattr(diffusers, name).from_pretrained(
            str(folder), torch_dtype=dict(dtypes), variant=variant, **given
        )
    except UNREADABLE as error:
        raise UserError(
            f"the {name} in {folder} could not be loaded: {reason(error)} The file that this names is "
            "damaged, or was changed or written by another version; replace it, or set model.path to another "
            "model."
        ) from error
    return pipeline, Source(variant=variant)


def read_index(folder: Path) -> Any:
    """The content of a pipeline's model_index.json.

    Raises:
        UserError: it is not JSON.
    """
    try:
        return DiffusionPipeline.load_config(str(folder))
    except UNREADABLE as error:
        raise UserError(
            f"model.path={folder} could not be opened: {reason(error)} Get its {INDEX} again"
        ) from error


def refuse_file_settings(config: ModelConfig) -> None:
    """Refuse settings that a folder has in its own files.

    Raises:
        UserError: one of them is set.
    """
    for key in ("config", "prediction"):
        if getattr(config, key) is not None:
            raise UserError(
                f"model.{key} is for a checkpoint in a single file, and {config.path} is a pipeline, whose "
                f"own files say it; set model.{key} to null"
            )
