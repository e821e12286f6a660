"""Sources of images by name. A new one is a file of this folder and a row of SOURCES."""

from __future__ import annotations

import os
import re
from pathlib import Path
from pkgutil import resolve_name

from safediffusion.config.inputs import ModelConfig
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.errors import UserError
from safediffusion.evaluation.sources.source import Source
from safediffusion.system.device import pick_device
from safediffusion.system.extensions import load_object

__all__ = ["SOURCES", "Model", "Source", "as_source", "names_source"]

Model = str | Path | ModelConfig | Diffuser

# KIND:ARGUMENT on the command line calls the class of that kind with the argument.
SOURCES = {
    "pipeline": "safediffusion.evaluation.sources.pipeline:PipelineSource",
    "images": "safediffusion.evaluation.sources.image_folder:ImageFolder",
}
OBJECT = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def names_source(text: str) -> bool:
    """Whether a text is KIND:ARGUMENT with a kind of SOURCES, or `pkg.mod:NAME`, and not an existing path."""
    kind, _, argument = text.partition(":")
    named = (kind in SOURCES and bool(argument)) or bool(OBJECT.fullmatch(text))
    return named and not os.path.exists(text)  # unlike Path.exists, False for a name that is too long


def as_source(model: Model | Source) -> Source:
    """The source that a model, or the name of a source, stands for.

    Args:
        model: a source; the name of one; or a model as PipelineSource takes it. `pkg.mod:NAME` is called with
            the device and must return a Source.

    Raises:
        UserError: the named object cannot be imported, or what it returns is not a Source.
    """
    if isinstance(model, Source):
        return model
    if not isinstance(model, str) or not names_source(model):
        return resolve_name(SOURCES["pipeline"])(model)
    kind, _, argument = model.partition(":")
    if kind in SOURCES:
        return resolve_name(SOURCES[kind])(argument)
    source = load_object(model, "the source of images")(pick_device())
    if not isinstance(source, Source):
        raise UserError(
            f"{model} returned a {type(source).__name__}, not a source of images; let it return "
            "an instance of a class derived from safediffusion.evaluation.sources.Source"
        )
    return source
