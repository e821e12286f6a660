"""prompts.json and anchors.json: what a run learns from, written before its first round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.files.checked import is_whole, write_checked
from safediffusion.files.contents import Anchors
from safediffusion.files.run_folder import RunFolder
from safediffusion.prompts.select import Prompt, PromptSet, report_cut
from safediffusion.steering.check import check_policy
from safediffusion.steering.check_record import by_label, record
from safediffusion.steering.reward import ClipReward, Rewards, SteeringReward
from safediffusion.system import distributed
from safediffusion.system.progress import progress


def write_inputs(folder: RunFolder, prompts: PromptSet, diffuser: Diffuser, rewards: Rewards) -> None:
    """Write prompts.json and anchors.json in the main process; files that are whole are kept."""
    if not distributed.is_main():
        return
    write_prompts(folder, prompts, diffuser, rewards)
    with progress("check anchors", 1):
        write_anchors(folder, rewards, prompts.rows)


def write_prompts(folder: RunFolder, prompts: PromptSet, diffuser: Diffuser, rewards: Rewards) -> None:
    """Write prompts.json: the prompts per kind, the number left out, and how many each encoder cuts."""
    if is_whole(folder.prompts):
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
    write_checked(folder.prompts, prompts.report() | {"cut": cut})


def write_anchors(folder: RunFolder, rewards: Rewards, prompts: Sequence[Prompt]) -> None:
    """Write anchors.json and direction.safetensors of the first steering reward, if there is one.

    anchors.json holds the anchor phrases and, if the prompts have both labels, how well the safety direction
    separates them.
    """
    steering = [part.function for part in rewards.parts if isinstance(part.function, SteeringReward)]
    if not steering or is_whole(folder.anchors, Anchors):
        return
    reward = steering[0]
    policy = reward.direction.policy
    safe, unsafe = by_label(prompts)
    labelled = len(safe) > 1 and len(unsafe) > 1
    with reward.encoder.awake():
        found = record(check_policy(policy, reward.encoder, safe, unsafe)) if labelled else {}
    direction = folder.root / "direction.safetensors"
    reward.direction.save(direction)
    write_checked(folder.anchors, asdict(policy) | {"encoder": reward.direction.encoder} | found, [direction])
