"""`safediffusion export`: a finished run's model as a folder for other programs, here or on the hub."""

from __future__ import annotations

import shutil
from enum import StrEnum
from pathlib import Path

from .checked import check_sums
from .errors import UserError
from .push import check_push, push
from .runs import RunFolder, explain, replacing_folder, write_tensors, write_text

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
    target = destination(run, to, out)
    card = describe(RunFolder(run), to, target, repo or "FOLDER")
    copy(run, to, target, card)
    return [str(target), *([push(target, card, repo)] if repo else [])]


def copy(run: Path, to: Target, out: Path | None, card: str | None = None) -> Path:
    """The weights, and in a folder their card, whole or not at all."""
    source, target = find(run, to), destination(run, to, out)
    if to is Target.kohya:
        write_kohya(source, target)
    else:
        copy_folder(source, target, card)
    return target


def find(run: Path, to: Target) -> Path:
    """What is to be copied, if the run has it, as it was written."""
    model = RunFolder(run).model
    if not (model / "model_index.json").is_file():
        raise UserError(
            f"{run} has no finished model; finish the run first: safediffusion train ... --out {run}"
        )
    check_sums(model)
    source = model if to is Target.diffusers else model / "lora"
    if not source.is_dir():
        raise UserError(f"{run} trained the whole network, so there is no adapter; use --to diffusers")
    return source


def destination(run: Path, to: Target, out: Path | None) -> Path:
    """Where the copy goes, which must not exist yet."""
    target = out or Path(f"{run.name}-{to}{'.safetensors' if to is Target.kohya else ''}")
    if target.exists():
        raise UserError(f"{target} exists already; choose another name with --out")
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


def copy_folder(source: Path, target: Path, card: str | None) -> None:
    """Copy a folder, with its card, so that `target` appears complete or not at all."""
    with replacing_folder(target, over=False) as folder:
        shutil.copytree(source, folder, copy_function=copy_file, dirs_exist_ok=True)
        if card:
            write_text(folder / "README.md", card)


def copy_file(source: str, target: str) -> str:
    """Copy a file; a failure ends the copying of its folder there."""
    try:
        return shutil.copy2(source, target)
    except OSError as error:
        raise explain(error, target) from error
