"""Builds the configuration of a run from a recipe, a file, a preset and key=value arguments.

Layers, later ones win: schema defaults, the recipe a file extends, the preset the file names, the file, the
preset of the command line, key=value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from safediffusion.config.invalid import explain_invalid
from safediffusion.config.schema import RunConfig
from safediffusion.errors import Damaged, UserError
from safediffusion.files.hashes import RESTORE, check_sealed
from safediffusion.files.paths import read_path
from safediffusion.text import strict_yaml
from safediffusion.text.did_you_mean import did_you_mean
from safediffusion.text.escaping import shorten

Values = dict[str, Any]
COMMENT = re.compile(r"^[^'\"]*(^|\s)#")  # where YAML would drop the rest of the argument
CUTOFF = 0.75  # how alike a suggested name must be, see difflib
DURING = ("evaluate.during_every", "evaluate.during_n")
DEEPEST = 3  # dots in the name of a setting
RECIPES = Path(__file__).parent / "recipes"
PRESETS = Path(__file__).parent / "presets"


def list_recipes() -> list[str]:
    """Names of the shipped recipes; `world`, the default, comes first."""
    return sorted((path.stem for path in RECIPES.glob("*.yaml")), key=lambda name: (name != "world", name))


def recipe_path(name: str) -> Path:
    """The YAML file of a shipped recipe."""
    if name not in list_recipes():  # a name, never a path
        raise UserError(f"there is no recipe {shorten(name)!r}; {did_you_mean(name, list_recipes(), CUTOFF)}")
    return RECIPES / f"{name}.yaml"


def list_presets() -> list[str]:
    """Names of the presets, the smallest GPU first; a preset has only settings that memory depends on."""
    return sorted(
        (path.stem for path in PRESETS.glob("*.yaml")), key=lambda name: int(name.removesuffix("gb"))
    )


def preset_path(name: str) -> Path:
    """The YAML file of a preset."""
    if name not in list_presets():  # a name, never a path
        raise UserError(f"there is no preset {shorten(name)!r}; {did_you_mean(name, list_presets(), CUTOFF)}")
    return PRESETS / f"{name}.yaml"


def load_config(
    source: str | Path | None = None, overrides: Sequence[str] = (), preset: str | None = None
) -> RunConfig:
    """Return the validated configuration of a run.

    Args:
        source: the name of a recipe, or a YAML file; None is the recipe `world`.
        overrides: settings of the form key=value; they replace those of the recipe or file.
        preset: memory settings for a GPU, such as 12gb; they replace those of the recipe or file.

    Raises:
        UserError: the recipe, the file or a setting does not exist, or a value is not accepted.

    Examples:
        >>> from safediffusion import load_config
        >>> config = load_config("world", ["reward.alpha=0.7"])
        >>> config.reward.alpha
        0.7
    """
    words = parse_words(overrides)
    values = _read_layers(source or "world", seen=())
    if preset:
        values = _merge(values, _read_yaml(preset_path(preset)))
    return validate(_merge(values, words))


def with_preset(config: RunConfig, name: str, overrides: Sequence[str] = ()) -> RunConfig:
    """A configuration with a preset over it, and over that the key=value settings of the command line.

    Raises:
        UserError: there is no such preset, or its settings do not go with the others.
    """
    values = _merge(config.model_dump(), _read_yaml(preset_path(name)))
    return validate(_merge(values, parse_words(overrides)))


def validate(values: Any) -> RunConfig:
    """A plain mapping as a RunConfig.

    Raises:
        UserError: one line about the first setting that is unknown or not accepted.
    """
    _refuse_unknown(values, keys=dotted_keys())
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(explain_invalid(error)) from error


def load_run_config(path: Path) -> RunConfig:
    """The configuration that a run folder was started with.

    Raises:
        Damaged: the file was changed or lacks a section.
    """
    check_sealed(path)
    values = _read_yaml(path)
    if missing := RunConfig.model_fields.keys() - values.keys():
        raise Damaged(path, f"it lacks {', '.join(sorted(missing))}", RESTORE)
    return validate(values)


def dump(config: RunConfig) -> str:
    """The configuration as YAML text that load_config reads back."""
    return strict_yaml.dump(config.model_dump())


def flatten(config: RunConfig) -> dict[str, Any]:
    """The settings by dotted key."""
    values = config.model_dump()
    sections = {k: v for k, v in values.items() if isinstance(v, dict)}
    plain = {k: v for k, v in values.items() if k not in sections}
    return plain | {f"{name}.{k}": v for name, section in sections.items() for k, v in section.items()}


def diff(a: RunConfig, b: RunConfig) -> list[str]:
    """Dotted keys whose values differ, except `watch`, which changes no result."""
    left, right = flatten(a), flatten(b)
    return [key for key in left if key != "watch" and left[key] != right[key]]


def result_diff(a: RunConfig, b: RunConfig) -> list[str]:
    """Dotted keys whose values differ and that a run's result depends on.

    Small evaluations only show how a run does, unless train.keep_best chooses a checkpoint by one of them.
    """
    shown = () if any("/" in (config.train.keep_best or "") for config in (a, b)) else DURING
    return [key for key in diff(a, b) if key not in shown]


@cache
def dotted_keys() -> tuple[str, ...]:
    """The dotted keys of all settings."""
    return tuple(flatten(RunConfig()))


def _read_layers(source: str | Path, seen: tuple[Path, ...]) -> Values:
    """A recipe or file merged over its preset and what it extends; `recipe` becomes the outermost name."""
    is_file = str(source).endswith((".yaml", ".yml"))
    path = read_path(str(source)) if is_file else recipe_path(str(source))
    if path in seen:
        raise UserError(f"{path} extends itself; remove one of the `extends:` lines")
    values = _read_yaml(path)
    base = values.pop("extends", None)
    if not isinstance(base, str | None):
        raise UserError(f"{path}: `extends` is {base!r}; it names one recipe or .yaml file")
    preset = values.pop("preset", None)
    if not isinstance(preset, str | None):
        raise UserError(f"{path}: `preset` is {preset!r}; it names one of: {', '.join(list_presets())}")
    values["recipe"] = path.stem
    below = _read_layers(base, (*seen, path)) if base else {}
    if preset:
        below = _merge(below, _read_yaml(preset_path(preset)))
    return _merge(below, values)


def _read_yaml(path: Path) -> Values:
    return strict_yaml.read_mapping(path, "settings as `section:` and `key: value` lines")


def parse_words(words: Sequence[str]) -> Values:
    """key=value arguments as nested settings; a later one wins."""
    values: Values = {}
    for word in words:
        key, equals, value = word.partition("=")
        if any(ord(c) < 32 for c in word) or key.count(".") > DEEPEST:
            raise UserError(f"{shorten(word)!r} is not a setting; write it on one line as section.name=value")
        if "${" in key:
            raise UserError(f"{shorten(word)!r} holds an interpolation, ${{...}}; write the name itself")
        if not key or not equals:
            raise UserError(
                f"{shorten(word)!r} is no setting; write it as key=value, for example reward.alpha=0.7"
            )
        if COMMENT.search(value):
            raise UserError(
                f"{shorten(word)!r} holds ` #`, which begins a comment; put quotes around the value"
            )
        setting = strict_yaml.parse(value, shorten(word))
        for name in reversed(key.split(".")):
            setting = {name: setting}
        values = _merge(values, setting)
    return values


def _merge(below: Values, above: Values) -> Values:
    """Two layers of nested settings as one; lists and values of `above` replace those of `below`."""
    both = {
        key: _merge(below[key], above[key])
        for key in below.keys() & above.keys()
        if isinstance(below[key], dict) and isinstance(above[key], dict)
    }
    return below | above | both


def _refuse_unknown(values: Any, keys: Sequence[str], prefix: str = "") -> None:
    sections = {key.split(".")[0] for key in keys if "." in key}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and key in sections:
            _refuse_unknown(value, keys, f"{key}.")
        elif key in sections:
            raise UserError(f"{key} is a group of settings, not a value; write {key}.NAME=...")
        elif key not in keys:
            key, leaf = shorten(key), shorten(key.rpartition(".")[2])
            raise UserError(f"{key} is not a setting; {_nearest_setting(key, leaf, keys)}")


def _nearest_setting(key: str, leaf: str, known: Sequence[str]) -> str:
    """A hint at the setting that was meant, by its whole name or by the part after the last dot."""
    leaves = {name.rpartition(".")[2]: name for name in reversed(known)}
    near = get_close_matches(key, known, n=1, cutoff=CUTOFF)
    near += [leaves[name] for name in get_close_matches(leaf, leaves, n=1, cutoff=CUTOFF)]
    return f"did you mean {near[0]}?" if near else "`safediffusion train --dry-run` prints all settings"
