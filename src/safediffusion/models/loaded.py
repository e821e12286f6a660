"""A named model in memory: with parts replaced, at a strength, or with a method that acts while sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from safediffusion.baselines.suffix import split_suffix
from safediffusion.config import RunConfig
from safediffusion.config.inputs import ModelConfig
from safediffusion.errors import UserError
from safediffusion.files.run_folder import RunFolder
from safediffusion.models.named import loading, model_path, run_config
from safediffusion.system.device import pick_device

if TYPE_CHECKING:
    from safediffusion.diffusion.diffuser import Diffuser

Parts = Mapping[str, Path]  # weights that replace those of a part, by its name in the pipeline


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


def load_changed(name: str, config: RunConfig, changes: Changes) -> Diffuser:
    """A model with its changes.

    Args:
        name: as the command line has it.
        config: the settings of a run, or of the first model of a command, see `run_config`.
        changes: of this model.
    """
    if changes.strength is None:
        return load_with(loading(config, name), changes.parts)
    return load_dialled(name, changes.strength, changes.load)


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


def run_of(model: str) -> RunFolder:
    """The run whose base and result a strength lies between.

    Raises:
        UserError: the model is no run, so that what it was trained from is not known; or it is not finished.
    """
    folder = RunFolder(Path(model))
    if not folder.config.is_file():
        around = RunFolder(folder.root.absolute().parent)
        advice = f"give the run it lies in, {around.root}" if around.config.is_file() else "give a run folder"
        raise UserError(
            f"--strength lies between a run's base and what it trained, and {model} is no run; {advice}"
        )
    model_path(model)
    return folder


def load_dialled(model: str, strength: float, load: Sequence[str] = ()) -> Diffuser:
    """A run's model at a strength, with the method of its suffix; `load` is explained at `run_config`."""
    from safediffusion.baselines.sampling import attach_named
    from safediffusion.baselines.suffix import split_suffix
    from safediffusion.diffusion.strength import load_at_strength

    run = run_of(split_suffix(model)[0])
    diffuser = load_at_strength(run_config(model, load).model, run.model, strength, pick_device())
    attach_named(diffuser, model)
    return diffuser
