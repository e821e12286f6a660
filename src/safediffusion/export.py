"""`safediffusion export`: a finished run's model as a folder for other programs."""

from __future__ import annotations

import os
import shutil
from enum import StrEnum
from pathlib import Path

from .errors import UserError
from .runs import RunFolder, explain, write_tensors, write_text

ADAPTER = "pytorch_lora_weights.safetensors"


class Target(StrEnum):
    """What is copied: the whole pipeline, or the adapter of a run with train.lora_rank > 0.

    `lora` is diffusers' own layout, `kohya` one file under the names that kohya's scripts gave.
    """

    diffusers = "diffusers"
    lora = "lora"
    kohya = "kohya"


USE = {
    Target.diffusers: 'DiffusionPipeline.from_pretrained("FOLDER")',
    Target.lora: 'DiffusionPipeline.from_pretrained("BASE").load_lora_weights("FOLDER")',
}


def export(run: Path, to: Target, out: Path | None) -> Path:
    """Copy the run's result and return where it lies.

    Args:
        run: a run folder.
        to: what to copy.
        out: what does not exist yet; None is RUN-TO in the current folder, a file for kohya.
    """
    model = RunFolder(run).model
    if not (model / "model_index.json").is_file():
        raise UserError(
            f"{run} has no finished model; finish the run first: safediffusion train ... --out {run}"
        )
    source = model if to is Target.diffusers else model / "lora"
    if not source.is_dir():
        raise UserError(f"{run} trained the whole network, so there is no adapter; use --to diffusers")
    ending = ".safetensors" if to is Target.kohya else ""
    target = out or Path(f"{run.name}-{to}{ending}")
    if target.exists():
        raise UserError(f"{target} exists already; choose another name with --out")
    if to is Target.kohya:
        write_kohya(source, target)
    else:
        copy_folder(source, target)
        write_card(RunFolder(run), to, target)
    return target


def write_card(folder: RunFolder, to: Target, target: Path) -> None:
    """README.md beside the weights; only a run that was summarised has something to say."""
    from .card import model_card

    if folder.summary.is_file():
        write_text(target / "README.md", model_card(folder, USE[to]))


def write_kohya(lora: Path, target: Path) -> None:
    """A UNet's adapter as one file for kohya's scripts, ComfyUI and others; diffusers reads it too."""
    from diffusers.utils.state_dict_utils import convert_state_dict_to_kohya
    from safetensors.torch import load_file

    tensors = load_file(lora / ADAPTER)
    if not all(name.startswith("unet.") for name in tensors):
        raise UserError(
            "kohya's names exist for the UNet families only, and ComfyUI reads this adapter as it is; "
            "use --to lora"
        )
    write_tensors(target, convert_state_dict_to_kohya(tensors))


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder so that `target` appears complete or not at all."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, temporary)
        os.replace(temporary, target)
    except shutil.Error as error:
        raise UserError(f"cannot copy {source} to {target}: {error.args[0][0][2]}") from error
    except OSError as error:
        raise explain(error, target) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
