"""The prompts of a run: those of its sources and, with prompts.anchors, the phrases of its safety policy."""

from __future__ import annotations

from safediffusion.config import RunConfig
from safediffusion.errors import UserError
from safediffusion.prompts.select import PromptSet, load_prompts
from safediffusion.steering.anchors import load_safety_policy
from safediffusion.text.did_you_mean import did_you_mean
from safediffusion.text.escaping import shorten


def run_prompts(config: RunConfig) -> PromptSet:
    """The prompts that a run trains on.

    Raises:
        UserError: a source or the safety policy is refused, or train.kl_kinds names a kind that no benign
            prompt is of.
    """
    phrases: tuple[str, ...] = ()
    if config.prompts.anchors:
        phrases = load_safety_policy(config.reward.anchors, config.reward.encoder).unsafe
    prompts = load_prompts(config.prompts, phrases)
    kinds = {prompt.kind for prompt in prompts.rows if prompt.label == "benign"} - {None}
    for name in config.train.kl_kinds:
        if name not in kinds:
            known = sorted(str(kind) for kind in kinds)
            hint = did_you_mean(name, known) if known else "the prompts have no column `kind`"
            raise UserError(f"train.kl_kinds has {shorten(name)}, which no benign prompt is of; {hint}")
    return prompts
