"""Reads a checkpoint in a single .safetensors file, by diffusers' own loader, without a connection.

Such a file holds weights alone. Settings and tokenizers are those of the published model of its kind, or of
the pipeline that `model.config` names, which also gives the parts that the file lacks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import diffusers
import torch
import transformers
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import nn

from safediffusion.config.inputs import ModelConfig
from safediffusion.diffusion.architectures import ARCHITECTURES
from safediffusion.diffusion.checkpoint_file import SD2, CheckpointFile, inspect
from safediffusion.diffusion.hub_folder import local_path
from safediffusion.diffusion.layout import absent_parts, check_folder, weights_of
from safediffusion.diffusion.trust import UNREADABLE, check_index, reason
from safediffusion.diffusion.weight_files import UNUSED, pick_variant
from safediffusion.errors import UserError

log = logging.getLogger(__name__)

LIBRARIES = {"diffusers": diffusers, "transformers": transformers}
BASE_SIDE = 64  # of the latents of SD 2.x where it predicts noise: it was made for 512 pixels, not 768
ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}  # Lin et al., 2024, section 3


def read_single_file(path: Path, config: ModelConfig, options: Callable[[str], Mapping[str, Any]]) -> Any:
    """The pipeline of a checkpoint, in the precision that the file has.

    Args:
        path: of the file.
        config: with `config` and `prediction`.
        options: from the name of the pipeline's class to further arguments of its from_single_file.

    Raises:
        UserError: the file is no checkpoint that is read here, is not whole, lacks a part, or does not fit
            its settings.
    """
    found = inspect(path)
    with settings_of(found, config) as folder:
        index: Any = DiffusionPipeline.load_config(str(folder))
        name = check_index(index, folder)
        given = {**options(name), **dict.fromkeys(part for part in UNUSED if part in index)}
        given |= {part: read_part(folder, part, index, found.dtype) for part in found.lacks}
        try:
            pipeline = getattr(diffusers, name).from_single_file(
                str(path), config=str(folder), torch_dtype=found.dtype, local_files_only=True, **given
            )
        except NotImplementedError as error:  # tensors that the file lacks stay on the meta device
            raise misfit(found, "it lacks some of the tensors") from error
        except UNREADABLE as error:
            raise misfit(found, reason(error).partition(" If you want")[0].rstrip(".")) from error
    refuse_gaps(pipeline, found)
    set_noise(pipeline, found, config)
    for part in pipeline.components.values():
        if isinstance(part, diffusers.ModelMixin):
            part.register_to_config(_name_or_path=None)  # the settings' folder, which may be gone by now
    return pipeline


@contextmanager
def settings_of(found: CheckpointFile, config: ModelConfig) -> Iterator[Path]:
    """A pipeline folder with the settings and tokenizers of a checkpoint, for as long as the block runs.

    Raises:
        UserError: `model.config` is no pipeline, or it is not set and the file lacks a part.
    """
    if config.config is not None:
        folder = local_path(ModelConfig(path=config.config), weights=found.lacks)
        check_folder(folder)
        index: Any = DiffusionPipeline.load_config(str(folder))
        absent_parts(folder, index)
        yield folder
        return
    if found.lacks:
        raise UserError(
            f"model.path={found.path} has no {' and no '.join(found.lacks)}; set model.config to the folder "
            f"or hub id of a pipeline that has, such as {found.kind}"
        )
    with TemporaryDirectory() as temporary:
        write_settings(found.kind, Path(temporary), config.prediction or found.prediction)
        yield Path(temporary)


def write_settings(kind: str, folder: Path, prediction: str | None) -> None:
    """Write a known architecture's settings and tokenizers as a pipeline folder without weights."""
    with torch.device("meta"):
        pipeline = ARCHITECTURES[kind]()
    if kind == SD2 and prediction == "epsilon":
        pipeline.unet.register_to_config(sample_size=BASE_SIDE)
    pipeline.save_config(folder)
    for name, part in pipeline.components.items():
        if isinstance(part, diffusers.ModelMixin):
            part.save_config(folder / name)
        elif part is not None:  # a model of transformers, a tokenizer or a scheduler
            settings: Any = part.config if isinstance(part, nn.Module) else part
            settings.save_pretrained(folder / name)


def read_part(folder: Path, part: str, index: Mapping[str, Any], dtype: torch.dtype) -> Any:
    """A part that the checkpoint lacks, from the pipeline that `model.config` names.

    Raises:
        UserError: it has no weights there.
    """
    library, kind = index[part]
    variant = pick_variant({part: weights_of(folder / part)}, None, folder)
    try:
        return getattr(LIBRARIES[library], kind).from_pretrained(
            folder / part, variant=variant, torch_dtype=dtype
        )
    except UNREADABLE as error:
        raise UserError(f"{folder / part} could not be loaded: {reason(error)}") from error


def refuse_gaps(pipeline: Any, found: CheckpointFile) -> None:
    """Refuse a file that lacks tensors of a text encoder: the loader leaves them without content.

    Raises:
        UserError: names the first one.
    """
    gaps = [
        f"{name}.{key}"
        for name, part in pipeline.components.items()
        if isinstance(part, nn.Module)
        for key, tensor in part.named_parameters()
        if tensor.is_meta
    ]
    if gaps:
        raise misfit(found, f"it lacks {len(gaps)} tensors, the first is {gaps[0]}")


def misfit(found: CheckpointFile, why: str) -> UserError:
    """The error for a checkpoint that its settings do not fit."""
    return UserError(
        f"model.path={found.path} looks like {found.kind} and could not be loaded as such: {why}. If its "
        "architecture is another, set model.config to the folder or hub id of a pipeline that has the same; "
        "else get the file again"
    )


def set_noise(pipeline: Any, found: CheckpointFile, config: ModelConfig) -> None:
    """Give the scheduler what `model.prediction` says, else what the file does if `model.config` is null."""
    own = config.config is None
    prediction = config.prediction or (found.prediction if own else None)
    changes: dict[str, Any] = {"prediction_type": prediction} if prediction else {}
    if own and found.zero_snr:
        changes |= ZERO_SNR
    if own and prediction and not config.prediction:
        log.warning(
            "%s is taken for a model that predicts %s%s; where that is wrong, set model.prediction",
            found.path,
            "v" if prediction == "v_prediction" else "noise",
            " and starts from pure noise (zero terminal SNR)" if found.zero_snr else "",
        )
    if changes:
        scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config, **changes)
        pipeline.register_modules(scheduler=scheduler)
