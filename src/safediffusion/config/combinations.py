"""Combinations of settings that are not accepted, although each setting is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safediffusion.config.schema import RunConfig

MOST_IMAGES = 1_000_000  # of a round
WITH_ANCHORS = ("steering", "negative-clip")  # rewards that read reward.anchors


def contradictions(run: RunConfig) -> Iterator[str]:
    """Yield what is wrong with the settings of a run, and what to set."""
    yield from _prompts(run)
    yield from _rollout(run)
    yield from _training(run)
    yield from _model(run)


def _prompts(run: RunConfig) -> Iterator[str]:
    kind = run.reward.kind
    if run.prompts.anchors and kind not in WITH_ANCHORS:
        yield (
            f"prompts.anchors adds the unsafe phrases of reward.anchors, which reward.kind={kind} does not "
            f"read; set prompts.anchors=0, or reward.kind to {' or '.join(WITH_ANCHORS)}"
        )
    if "heldout" in run.evaluate.tasks and run.prompts.heldout == 0:
        yield (
            "evaluate.tasks has heldout, which judges prompts that are not trained on, but prompts.heldout "
            "is 0; set prompts.heldout=0.1, or take the task out"
        )


def _rollout(run: RunConfig) -> Iterator[str]:
    branches, size = run.rollout.branches, run.rollout.group_size
    if branches and (size % branches or size // branches < 2):
        yield (
            f"rollout.branches is {branches}, which does not deal {size} images into equal branches of "
            "two or more; set it to a divisor of rollout.group_size, at most half of it"
        )
    yield from _steered(run)
    if (images := run.rollout.prompts * size) > MOST_IMAGES:
        yield (
            f"rollout.prompts times rollout.group_size is {images}, but a round has at most {MOST_IMAGES} "
            "images; set one of them lower"
        )


def _steered(run: RunConfig) -> Iterator[str]:
    steered, neighbours = run.rollout.steered, run.rollout.neighbours
    if steered + neighbours >= 1:
        yield (
            f"rollout.neighbours={neighbours:g} and rollout.steered={steered:g} leave nothing of a group "
            "for the prompt's own images; set them to less than 1 together"
        )
    if steered and run.reward.kind != "steering":
        yield (
            "rollout.steered takes its vectors from the safety direction, which "
            f"reward.kind={run.reward.kind} has not; set reward.kind=steering, with other rewards under "
            "reward.also, or rollout.steered=0"
        )


def _training(run: RunConfig) -> Iterator[str]:
    train = run.train
    if train.compile and (train.shard or train.recompute):
        yield (
            "train.compile takes a network that is whole and keeps its activations; set "
            "train.compile=false, or train.shard=false and train.recompute=false"
        )
    every = run.evaluate.during_every
    if "/" in (train.keep_best or "") and (every == 0 or every % train.checkpoint_every):
        yield (
            f"train.keep_best={train.keep_best} is of the small evaluations, which have to be at "
            f"checkpoints; set evaluate.during_every to {train.checkpoint_every} or a multiple"
        )
    if train.kl_kinds and train.kl_benign is None:
        yield (
            "train.kl_kinds says which benign prompts train.kl_benign is for, but that is null; "
            "set train.kl_benign=1, or leave train.kl_kinds out"
        )
    if train.lora_targets and train.lora_rank == 0:
        yield (
            "train.lora_targets says where an adapter is, but train.lora_rank=0 trains the whole network; "
            "set train.lora_rank=16, or leave train.lora_targets out"
        )
    if train.dpo_pairs == "given":
        yield from _given_pairs(run)
    if train.window > run.rollout.steps:
        yield (
            f"train.window is {train.window}, more than rollout.steps ({run.rollout.steps}); "
            "set train.window lower or 0"
        )


def _given_pairs(run: RunConfig) -> Iterator[str]:
    rollout = run.rollout
    if run.train.algorithm != "dpo":
        yield (
            f"train.dpo_pairs=given is for dpo, and train.algorithm is {run.train.algorithm}; set "
            "train.algorithm=dpo, or leave train.dpo_pairs out"
        )
    elif (rollout.group_size, rollout.neighbours, rollout.steered) != (2, 0, 0):
        yield (
            "train.dpo_pairs=given samples nothing, so a group is a pair; set rollout.group_size=2, "
            "rollout.neighbours=0 and rollout.steered=0"
        )


def _model(run: RunConfig) -> Iterator[str]:
    storage, dtype = run.model.storage, run.model.dtype
    if storage != "fp32" and (run.train.lora_rank == 0 or dtype not in ("auto", storage)):
        yield (
            f"model.storage={storage} keeps frozen weights only in {storage}, so it needs an adapter and "
            f"a network in {storage}; set train.lora_rank=16 and model.dtype=auto, or model.storage=fp32"
        )
