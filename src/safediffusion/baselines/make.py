"""Writes the model that a baseline makes of another one: an ordinary pipeline folder with a card."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from safediffusion.baselines.concepts import Concepts, read_concepts
from safediffusion.baselines.method import Method, WeightMethod
from safediffusion.baselines.sampling import refuse_suffix
from safediffusion.config.inputs import ModelConfig, Section
from safediffusion.config.invalid import explain_invalid
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.load import load_model
from safediffusion.diffusion.model_hash import model_hash
from safediffusion.errors import UserError
from safediffusion.files.atomic import replacing_folder, write_json
from safediffusion.files.hashes import write_sums
from safediffusion.system.device import pick_device
from safediffusion.text.did_you_mean import did_you_mean
from safediffusion.text.escaping import shorten
from safediffusion.version import __version__

CARD = "baseline.json"


def make(
    method: Method, model: ModelConfig, concepts: str | None, options: Mapping[str, Any], out: Path
) -> Path:
    """Write the model that a baseline makes; the folder appears complete or not at all.

    Args:
        method: the baseline.
        model: what it changes, see `load_model`.
        concepts: see `read_concepts`; None is the method's own list.
        options: changes of the method's options.
        out: a folder that does not exist yet.

    Returns:
        The folder.

    Raises:
        UserError: the method writes no weights or is not defined for the model's family, an option is not
            accepted, or the folder exists.
    """
    refuse_suffix(model.path, "changed by another")
    changed = with_options(method, options)
    chosen = None if concepts is None else read_concepts(concepts)
    if out.exists():
        raise UserError(f"{out} exists already; choose another name with --out")
    whole = model.model_copy(update={"storage": "fp32", "tiny_vae": None})
    diffuser = load_model(whole, pick_device(), merged=True)
    refuse_family(changed, diffuser)
    if chosen is None:
        chosen = read_concepts(method.own_concepts(diffuser))
    base, start = model_hash(diffuser), time.monotonic()
    told = changed.apply(diffuser, chosen)
    card = {
        **describe(changed, chosen),
        "base": model.path if not Path(model.path).exists() else Path(model.path).name,
        "base_sha256": base,
        "seconds": round(time.monotonic() - start, 1),
        "device": str(diffuser.device),
        "version": __version__,
        "made": told,
    }
    with replacing_folder(out, over=False) as folder:
        diffuser.export(folder)
        write_json(folder / CARD, card)
        write_sums(folder)
    return out


def with_options(method: Method, options: Mapping[str, Any]) -> WeightMethod:
    """The method with changed options.

    Raises:
        UserError: it writes no weights, or an option is unknown or its value not accepted.
    """
    if not isinstance(method, WeightMethod):
        raise UserError(f"{method.name} acts while sampling and writes no weights; give MODEL+{method.name}")
    known = type(method.options).model_fields
    for key in options:
        if key not in known:
            raise UserError(f"{method.name} has no option {shorten(key)}; {did_you_mean(key, known)}")
    try:
        changed: Section = type(method.options).model_validate(method.options.model_dump() | dict(options))
    except ValidationError as error:
        raise UserError(explain_invalid(error)) from error
    return replace(method, options=changed)


def refuse_family(method: Method, diffuser: Diffuser) -> None:
    """Refuse a model that the method is not defined for.

    Raises:
        UserError: names the model's family and those of the method.
    """
    if not method.defined_for(diffuser):
        raise UserError(
            f"{method.name} is not defined for {type(diffuser).__name__}; it is for "
            f"{' and '.join(method.families)}"
        )


def describe(method: WeightMethod, concepts: Concepts) -> dict[str, Any]:
    """What the card says before anything is made."""
    return {
        "method": method.name,
        "summary": method.summary,
        "paper": method.paper,
        "concepts": {"list": concepts.name, "phrases": concepts.phrases, "twins": concepts.twins},
        "options": method.options.model_dump(),
    }
