"""prompts.json, heldout.json, anchors.json and bias.json, which a run writes before its first round."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict

from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.errors import UserError
from safediffusion.files.checked import is_whole, read_json, write_checked
from safediffusion.files.contents import Anchors, Bias, HeldOut
from safediffusion.files.run_folder import RunFolder
from safediffusion.prompts.select import Prompt, PromptSet, report_cut
from safediffusion.steering.audit.audit import Labelled, Steering, audit_policy
from safediffusion.steering.check import check_policy
from safediffusion.steering.check_record import by_label, record
from safediffusion.steering.reward import ClipReward, Rewards, SteeringReward
from safediffusion.system import distributed
from safediffusion.system.progress import progress

log = logging.getLogger(__name__)


def write_inputs(
    folder: RunFolder, prompts: PromptSet, diffuser: Diffuser, rewards: Rewards, world: bool
) -> None:
    """Write what a run learns from in the main process; files that are whole are kept.

    Args:
        folder: of the run.
        prompts: to train on, and held out.
        diffuser, rewards: of the run.
        world: whether the model is World's.

    Raises:
        UserError: the run began with other prompts or anchor phrases.
    """
    if not distributed.is_main():
        return
    write_prompts(folder, prompts, diffuser, rewards)
    write_held_out(folder, prompts, rewards, world)
    with progress("check anchors", 1):
        write_anchors(folder, rewards, prompts.rows)
    with progress("audit anchors", 1):
        write_bias(folder, rewards, prompts.rows)


def write_prompts(folder: RunFolder, prompts: PromptSet, diffuser: Diffuser, rewards: Rewards) -> None:
    """Write prompts.json: the prompts per kind, the number left out, and how many each encoder cuts."""
    own = hashlib.sha256(json.dumps([asdict(row) for row in prompts.rows], default=str).encode()).hexdigest()
    if is_whole(folder.prompts):
        refuse_other("prompts", read_json(folder.prompts).get("sha256", own), own)
        return
    tokenizer = diffuser.pipeline.tokenizer
    readers: dict[str, tuple[Callable[[str], int], int]] = {
        "the model": (lambda text: len(tokenizer(text).input_ids), tokenizer.model_max_length)
    }
    for part in rewards.parts:
        if isinstance(part.function, ClipReward):
            encoder = part.function.encoder
            readers[f"reward {part.name}"] = (encoder.count_tokens, encoder.context)
    cut = {name: report_cut(prompts.rows, name, *reader) for name, reader in readers.items()}
    write_checked(folder.prompts, prompts.report() | {"cut": cut, "sha256": own})


def refuse_other(what: str, before: object, now: object) -> None:
    """Refuse to go on with other inputs than a run began with: rounds, noise and reports would not fit.

    Raises:
        UserError: they differ.
    """
    if before != now:
        raise UserError(
            f"the {what} of this run have changed since it began; put them back, or start a new run with "
            "--fresh"
        )


def write_held_out(folder: RunFolder, prompts: PromptSet, rewards: Rewards, world: bool) -> None:
    """Write heldout.json: the prompts that are never trained on, and whose eyes the reward sees through."""
    if not prompts.held_out or is_whole(folder.heldout, HeldOut):
        return
    found = [part.function.encoder for part in rewards.parts if isinstance(part.function, ClipReward)]
    rows = [{"prompt": prompt.text, "label": prompt.label or ""} for prompt in prompts.held_out]
    encoders = {encoder.name: encoder.fingerprint() for encoder in found}
    write_checked(folder.heldout, {"world": world, "encoders": encoders, "prompts": rows})


def write_anchors(folder: RunFolder, rewards: Rewards, prompts: Sequence[Prompt]) -> None:
    """Write anchors.json and direction.safetensors of the first steering reward, if there is one.

    anchors.json holds the anchor phrases and, if the prompts have both labels, how well the safety direction
    separates them.
    """
    reward = steering_reward(rewards)
    if not reward:
        return
    policy = reward.direction.policy
    if is_whole(folder.anchors, Anchors):
        known, own = read_json(folder.anchors), (list(policy.safe), list(policy.unsafe))
        refuse_other("anchor phrases", (known["safe"], known["unsafe"]), own)
        return
    safe, unsafe = by_label(prompts)
    labelled = len(safe) > 1 and len(unsafe) > 1
    with reward.encoder.awake():
        found = record(check_policy(policy, reward.encoder, safe, unsafe)) if labelled else {}
    direction = folder.root / "direction.safetensors"
    reward.direction.save(direction)
    write_checked(folder.anchors, asdict(policy) | {"encoder": reward.direction.encoder} | found, [direction])


def write_bias(folder: RunFolder, rewards: Rewards, prompts: Sequence[Prompt]) -> None:
    """Write bias.json, the audit of the first steering reward, if there is one and prompts have both labels.

    A direction that cannot be audited is no reason to refuse the run: the log says why.
    """
    reward, labelled = steering_reward(rewards), Labelled.of(prompts)
    if not reward or min(len(labelled.benign), len(labelled.unsafe)) < 2 or is_whole(folder.bias, Bias):
        return
    steering = Steering(reward.alpha, reward.below, reward.mode)
    try:
        found = audit_policy(reward.direction.policy, reward.encoder, labelled, steering)
    except UserError as error:
        log.warning("no bias audit: %s", error)
        return
    write_checked(folder.bias, found.record())


def steering_reward(rewards: Rewards) -> SteeringReward | None:
    """The first steering reward of a run."""
    found = (part.function for part in rewards.parts if isinstance(part.function, SteeringReward))
    return next(found, None)
