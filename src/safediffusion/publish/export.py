"""`safediffusion export`: a finished run's model for other programs, here or on the hub."""

from __future__ import annotations

import logging
from enum import StrEnum
from pathlib import Path

from safediffusion.errors import UserError
from safediffusion.files.atomic import copy_folder, write_tensors, write_text
from safediffusion.files.hashes import check_sums, write_sums
from safediffusion.files.links import refuse_links
from safediffusion.files.run_folder import RunFolder
from safediffusion.publish.hub import check_push, push

log = logging.getLogger(__name__)

ADAPTER = "pytorch_lora_weights.safetensors"


class Target(StrEnum):
    """What is copied: the whole pipeline, or the adapter of a run with train.lora_rank > 0.

    `lora` is diffusers' own layout, `kohya` one file under the names of kohya's sd-scripts, which ComfyUI and
    A1111 read too.
    """

    diffusers = "diffusers"
    lora = "lora"
    kohya = "kohya"


def export(run: Path, to: Target, out: Path | None, repo: str | None = None) -> list[str]:
    """Copy the run's result; return its path, and its address if it was pushed.

    Args:
        run: a run folder.
        to: what to copy.
        out: what does not exist yet; None is RUN-TO in the current folder. For kohya it is a file, whose
            name gets the ending .safetensors, which all its readers ask for.
        repo: OWNER/NAME on the hub to push the copy to.
    """
    from safediffusion.baselines.sampling import refuse_suffix

    refuse_suffix(str(run), "exported")
    if repo:
        check_push(repo)
    target = copy(run, to, out or Path(f"{run.resolve().name}-{to}"), repo)
    pushed = [push(target, describe(RunFolder(run), to, target, repo), repo)] if repo else []
    return [str(target), *pushed]


def copy(run: Path, to: Target, target: Path, repo: str | None = None) -> Path:
    """Copy the weights, and into a folder their card, so that it is complete or absent; see `export`."""
    model = RunFolder(run).model
    if not (model / "model_index.json").is_file():
        raise UserError(
            f"{run} has no finished model; finish the run first: safediffusion train ... --out {run}"
        )
    check_sums(model)
    source = model if to is Target.diffusers else model / "lora"
    if not source.is_dir():
        raise UserError(f"{run} trained the whole network, so there is no adapter; use --to diffusers")
    target = destination(model, to, target)
    refuse_links(source)
    if to is Target.kohya:
        write_kohya(RunFolder(run), target)
    else:
        card = describe(RunFolder(run), to, target, repo)
        copy_folder(source, target, over=False, complete=lambda folder: complete(folder, card))
    return target


def destination(model: Path, to: Target, target: Path) -> Path:
    """Check where a copy goes: a new path outside the model; a kohya file gets its ending."""
    refuse_existing(target)
    if to is Target.kohya and target.suffix.lower() != ".safetensors":
        target = target.with_name(f"{target.name}.safetensors")
    refuse_existing(target)
    if target.resolve().is_relative_to(model.resolve()):
        raise UserError(
            f"{target} lies in the model that is copied; choose a name outside {model} with --out"
        )
    return target


def refuse_existing(target: Path) -> None:
    """Refuse a path that exists, because an export overwrites nothing."""
    if target.exists():
        raise UserError(f"{target} exists already; choose another name with --out")


def describe(folder: RunFolder, to: Target, target: Path, repo: str | None) -> str | None:
    """Return the model card of the copy at `target`; None without a summary of the run.

    Args:
        folder: the run.
        to: what was copied.
        target: where to.
        repo: where it is pushed to.
    """
    from safediffusion.publish.model_card import model_card

    if not folder.summary.is_file():
        log.warning("%s is missing, so no model card is written", folder.summary)
        return None
    return model_card(folder, to, repo, target.name)


def write_kohya(run: RunFolder, target: Path) -> None:
    """Write the adapter as one file for sd-scripts, ComfyUI, A1111 and others."""
    from safetensors.torch import load_file

    from safediffusion.config import load_run_config
    from safediffusion.publish.kohya import convert, metadata

    tensors = convert(load_file(run.model / "lora" / ADAPTER), run.model)
    write_tensors(target, tensors, metadata(load_run_config(run.config), run.model, target.stem))


def complete(folder: Path, card: str | None) -> None:
    """Add what a copied model folder lacks: the form that older libraries read, its hashes, and its card."""
    from safediffusion.diffusion.portable import INDEX, make_portable

    if (folder / INDEX).is_file():
        make_portable(folder)  # a run of an older version may have written the newest form only
        write_sums(folder)
    if card:
        write_text(folder / "README.md", card)
