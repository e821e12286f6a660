"""Methods that act while sampling, as a suffix of a model: MODEL+NAME[@key=value,...][:LIST of concepts]."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from safediffusion.baselines.casteer import CASTEER
from safediffusion.baselines.concepts import read_concepts
from safediffusion.baselines.method import SamplingMethod
from safediffusion.baselines.negative import NEGATIVE
from safediffusion.baselines.safree import SAFREE
from safediffusion.baselines.sld import SLD
from safediffusion.baselines.suffix import split_suffix
from safediffusion.baselines.surgery_text import SURGERY_TEXT
from safediffusion.config.inputs import ModelConfig
from safediffusion.diffusion import load
from safediffusion.diffusion.acting_method import ActingMethod
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.errors import UserError
from safediffusion.text.did_you_mean import did_you_mean

SAMPLING: dict[str, SamplingMethod] = {
    method.name: method for method in (NEGATIVE, *SLD, CASTEER, SAFREE, SURGERY_TEXT)
}


def check_suffix(name: str) -> None:
    """Refuse a suffix that names no method, or no list of concepts, before anything is loaded.

    Raises:
        UserError: what it may have meant.
    """
    if split_suffix(name)[1]:
        named_method(name)


def refuse_suffix(name: str, purpose: str) -> None:
    """Refuse a model with a method that acts while sampling.

    Args:
        name: as it was written.
        purpose: what was to be done with it, as in "trained".

    Raises:
        UserError: it has a suffix.
    """
    model, suffix = split_suffix(name)
    check_suffix(name)
    if suffix:
        raise UserError(
            f"{suffix[1:]} acts while sampling and changes no weights, so {name} cannot be {purpose}; give "
            f"{model}"
        )


def named_method(name: str) -> tuple[SamplingMethod, str]:
    """The method that a model's suffix names, and the list of concepts, "" where it names none.

    Raises:
        UserError: there is no such method or list.
    """
    model, suffix = split_suffix(name)
    if split_suffix(model)[1]:
        raise UserError(f"{name} names two methods; one acts at a time")
    head, _, listed = suffix[1:].partition(":")
    wanted, at, settings = head.partition("@")
    if wanted not in SAMPLING:
        raise UserError(
            f"{name} does not exist, and no method that acts while sampling is called {wanted!r}; "
            f"{did_you_mean(wanted, SAMPLING)}"
        )
    if ":" in suffix:
        read_concepts(listed)
    words: list[str] = settings.split(",") if at else []
    pairs = [word.partition("=") for word in words]
    given = {key: value for key, _, value in pairs}
    return SAMPLING[wanted].with_settings(given), listed


def load_model(
    model: str | Path | ModelConfig,
    device: str | torch.device = "cpu",
    *,
    merged: bool = False,
    **settings: Any,
) -> Diffuser:
    """A text-to-image model as a policy.

    Args:
        model: a diffusers folder, a hub id, "world" for the embedded model, or the `model` section of a run.
            With a suffix, as in "world+sld-strong", that method acts whenever the model samples.
        device: where it runs.
        merged: the network may be a run's result with an adapter in its weights, so it stays float32 whatever
            the storage: bf16 would round a part of the adapter away.
        settings: fields of `ModelConfig`, such as dtype="fp32" or resolution=512, where `model` is none.

    Raises:
        UserError: a setting is not accepted, the model cannot be loaded, or the method is unknown or not
            defined for it.

    Examples:
        >>> from safediffusion import load_model
        >>> load_model("world").latent_shape
        (16, 8, 8)
    """
    config = model if isinstance(model, ModelConfig) else load.model_config(model, settings)
    check_suffix(config.path)
    bare = config.model_copy(update={"path": split_suffix(config.path)[0]})
    diffuser = load.load_model(bare, device, merged=merged)
    attach_named(diffuser, config.path)
    return diffuser


def attach_named(diffuser: Diffuser, name: str) -> None:
    """Let the method that a model's name has as its suffix, if any, act for as long as the model lives.

    Raises:
        UserError: see `named_method` and `attach`.
    """
    if split_suffix(name)[1]:
        attach(diffuser, *named_method(name))


def attach(diffuser: Diffuser, method: SamplingMethod, listed: str = "") -> None:
    """Let a method act for as long as the model lives.

    Args:
        diffuser: the model.
        method: that acts.
        listed: name of the list of concepts; "" is the method's own.

    Raises:
        UserError: the method is not defined for this family.
    """
    if not method.defined_for(diffuser):
        raise UserError(
            f"{method.name} is not defined for {type(diffuser).__name__}; it is for "
            f"{' and '.join(method.families)}"
        )
    named = read_concepts(listed or method.own_concepts(diffuser)).phrases
    kept = ExitStack()
    kept.enter_context(method.acting(diffuser, named))
    diffuser.sampled_by = ActingMethod(method.name, f"{method!r} {named!r}", method.needs_guidance, kept)
