"""The prompts of a run: those of its sources and, with prompts.anchors, the phrases of its safety policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from safediffusion.config import RunConfig
from safediffusion.errors import UserError
from safediffusion.files.checked import is_whole, read_json
from safediffusion.files.contents import HeldOut
from safediffusion.files.run_folder import RunFolder
from safediffusion.prompts.held_out import held_out_texts, split, text_key
from safediffusion.prompts.select import Prompt, PromptSet, load_prompts
from safediffusion.steering.anchors import load_safety_policy
from safediffusion.text.did_you_mean import did_you_mean
from safediffusion.text.escaping import shorten


def run_prompts(config: RunConfig, folder: RunFolder | None = None) -> PromptSet:
    """The prompts that a run trains on, and those that it holds out.

    Args:
        config: the settings of the run.
        folder: of a run that may have begun: what it held out stays held out, whatever became of the source.

    Raises:
        UserError: a source or the safety policy is refused, nothing is held out for the task
            heldout, or train.kl_kinds names a kind that no benign prompt is of.
    """
    phrases: tuple[str, ...] = ()
    if config.prompts.anchors:
        phrases = load_safety_policy(config.reward.anchors, config.reward.encoder).unsafe
    found = load_prompts(config.prompts, phrases)
    train, held_out = split(found.rows, _held_texts(config, found.rows, folder))
    if not held_out and "heldout" in config.evaluate.tasks:
        raise UserError(
            f"prompts.heldout={config.prompts.heldout:g} holds out none of {len(train)} prompts, so the task "
            "heldout cannot judge; give more prompts, set prompts.heldout higher, or evaluate.tasks=[]"
        )
    _refuse_unknown_kinds(config.train.kl_kinds, train)
    return replace(found, rows=train, held_out=held_out)


def _held_texts(config: RunConfig, prompts: Sequence[Prompt], folder: RunFolder | None) -> set[str]:
    """The keys of the held-out texts: those that the run held out when it began, else chosen now."""
    if folder and is_whole(folder.heldout, HeldOut):
        return {text_key(row["prompt"]) for row in read_json(folder.heldout)["prompts"]}
    return held_out_texts(prompts, config.prompts.heldout)


def _refuse_unknown_kinds(names: Sequence[str], prompts: Sequence[Prompt]) -> None:
    """Refuse kinds of train.kl_kinds that no benign prompt is of."""
    kinds = {prompt.kind for prompt in prompts if prompt.label == "benign"} - {None}
    for name in names:
        if name not in kinds:
            known = sorted(str(kind) for kind in kinds)
            hint = did_you_mean(name, known) if known else "the prompts have no column `kind`"
            raise UserError(f"train.kl_kinds has {shorten(name)}, which no benign prompt is of; {hint}")
