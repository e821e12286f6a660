"""What the name of a model stands for: which weights, and the settings that go with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from safediffusion.baselines.suffix import split_suffix
from safediffusion.config import RunConfig, load_run_config
from safediffusion.config.inputs import ModelConfig
from safediffusion.config.invalid import explain_invalid
from safediffusion.config.load import parse_words
from safediffusion.errors import UserError
from safediffusion.files.run_folder import RunFolder


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
