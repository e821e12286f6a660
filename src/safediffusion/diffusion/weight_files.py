"""Which files of a pipeline's folder hold its weights, by their names: on this machine or on the hub."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from safediffusion.config.inputs import ModelConfig
from safediffusion.errors import UserError
from safediffusion.text.escaping import shorten

INDEX = "model_index.json"
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")  # parts that training and evaluation skip
SETTINGS = (".json", ".txt", ".model", ".jinja")  # endings of settings and vocabularies
# Shards have their variant before their number, and had it behind in diffusers up to 0.31.
WEIGHTS = re.compile(
    r"(?P<stem>diffusion_pytorch_model|pytorch_model|model)(\.(?P<variant>(?!safetensors|bin|index)[\w-]+?))?"
    r"(-\d+-of-\d+(\.(?P<behind>(?!safetensors|bin|index)[\w-]+))?)?\.(?P<ending>safetensors|bin)"
    r"(\.index(\.(?P<sharded>[\w-]+))?\.json)?"
)

Variants = Collection[str | None]  # None is the plain weights


def weight_sets(names: Iterable[str]) -> dict[str | None, list[str]]:
    """The files of weights among a part's files, by variant; None is the plain one.

    They are safetensors, or .bin where there are none. An index without any of its shards does not count
    beside other weights: who downloads *.json and one variant has the indices of all.
    """
    sets: dict[tuple[str, str | None], list[str]] = {}
    for name in sorted(names):
        if match := WEIGHTS.fullmatch(name):
            variant = match["variant"] or match["behind"] or match["sharded"]
            sets.setdefault((match["ending"], variant), []).append(name)
    whole = {key: found for key, found in sets.items() if any(not name.endswith(".json") for name in found)}
    sets = whole or sets
    ending = "safetensors" if any(kind == "safetensors" for kind, _ in sets) else "bin"
    return {variant: found for (kind, variant), found in sets.items() if kind == ending}


def pick_variant(parts: Mapping[str, Variants], wanted: str | None, place: object) -> str | None:
    """The variant to load of a model; None is the plain one, used where every part has it.

    Args:
        parts: the variants that each part has.
        wanted: `model.variant`.
        place: of the model, for the message.

    Raises:
        UserError: no part has what is wanted, or the parts have no variant in common.
    """
    about = "; ".join(f"{name}/ has {_list(variants)}" for name, variants in parts.items())
    if wanted is not None:
        if not any(wanted in variants for variants in parts.values()):
            raise UserError(
                f"{place} has no variant {shorten(wanted)}: {about}; "
                "set model.variant to one of these, or null"
            )
        if lacking := [name for name, variants in parts.items() if not {wanted, None} & set(variants)]:
            raise UserError(f"{place} has no weights for model.variant={wanted} in {lacking[0]}/: {about}")
        return wanted
    lacking_plain = [set(variants) for variants in parts.values() if variants and None not in variants]
    if not lacking_plain:
        return None
    common = set.intersection(*lacking_plain)
    if not common:
        raise UserError(f"the parts of {place} have no variant in common: {about}; get one for all of them")
    return min(common, key=lambda name: (name != "fp16", name or ""))


def needed(
    names: Collection[str],
    index: Mapping[str, Any],
    config: ModelConfig,
    weights: Collection[str] | None = None,
) -> list[str]:
    """The files that a pipeline is loaded from: its index, and settings and one set of weights of each part.

    Args:
        names: all files below the pipeline's folder, with / between folders.
        index: the content of its model_index.json.
        config: with the variant.
        weights: parts whose weights are needed; None is all.
    """
    inside = {
        part: [name.removeprefix(f"{part}/") for name in names if name.startswith(f"{part}/")]
        for part in used_parts(index)
    }
    sets = {part: weight_sets(files) for part, files in inside.items() if weights is None or part in weights}
    weighty = {part: found for part, found in sets.items() if found}
    variant = pick_variant(weighty, config.variant, config.path)
    files = [INDEX]
    for part, found in inside.items():
        chosen = [name for name in found if name.endswith(SETTINGS) and not WEIGHTS.fullmatch(name)]
        own = sets.get(part, {})
        chosen += own.get(variant, own.get(None, []))
        files += [f"{part}/{name}" for name in chosen if "/" not in name]
    return files


def used_parts(index: Mapping[str, Any]) -> list[str]:
    """The parts that a model_index.json names and that training and evaluation use."""
    return [
        name
        for name, part in index.items()
        if isinstance(part, list) and part[0] is not None and name not in UNUSED
    ]


def _list(variants: Variants) -> str:
    return ", ".join(sorted(name or "plain weights" for name in variants))
