"""`safediffusion export`: a finished run's model as a folder for other programs, here or on the hub."""

from __future__ import annotations

import os
import shutil
from enum import StrEnum
from pathlib import Path

from .errors import UserError
from .links import refuse_links
from .push import check_push, push
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
    Target.kohya: 'DiffusionPipeline.from_pretrained("BASE").load_lora_weights("FOLDER", weight_name="FILE")',
}


def export(run: Path, to: Target, out: Path | None, repo: str | None = None) -> list[str]:
    """Copy the run's result; returns where it lies, and its address if it was pushed.

    Args:
        run: a run folder.
        to: what to copy.
        out: what does not exist yet; None is RUN-TO in the current folder, a file for kohya.
        repo: OWNER/NAME on the hub to push the copy to.
    """
    if repo:
        check_push(repo)
    target = copy(run, to, out)
    card = describe(RunFolder(run), to, target, repo or "FOLDER")
    if target.is_dir() and card:
        write_text(target / "README.md", card)
    return [str(target), *([push(target, card, repo)] if repo else [])]


def copy(run: Path, to: Target, out: Path | None) -> Path:
    """The weights alone, see `export`."""
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
    refuse_links(source)
    if to is Target.kohya:
        write_kohya(source, target)
    else:
        copy_folder(source, target)
    return target


def describe(folder: RunFolder, to: Target, target: Path, place: str) -> str | None:
    """The model card of what lies at `place`; only a run that was summarised has something to say."""
    from .card import model_card

    use = USE[to].replace("FOLDER", place).replace("FILE", target.name)
    return model_card(folder, use) if folder.summary.is_file() else None


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
        shutil.copytree(source, temporary, copy_function=copy_file)
        os.replace(temporary, target)
    except OSError as error:
        raise explain(error, target) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def copy_file(source: str, target: str) -> str:
    """Copy a file; a failure ends the copying of its folder there."""
    try:
        return shutil.copy2(source, target)
    except OSError as error:
        raise explain(error, target) from error
