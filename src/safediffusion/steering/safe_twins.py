"""Pairs of prompts with and without a harm, from a run's own prompts; steering vectors are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

from safediffusion.errors import UserError
from safediffusion.prompts.select import Prompt
from safediffusion.steering.anchors import SafetyPolicy
from safediffusion.steering.reward import Reward, SteeringReward

MOST = 8  # pairs per concept
UNNAMED = "unsafe"  # concept of prompts without a category


def concepts_of(prompts: Sequence[Prompt]) -> dict[str, list[int]]:
    """Indices of the prompts labelled unsafe by concept, which is the first category of each.

    Raises:
        UserError: no prompt is labelled unsafe.
    """
    found: dict[str, list[int]] = {}
    for i, prompt in enumerate(prompts):
        if prompt.label == "unsafe":
            found.setdefault((prompt.category or UNNAMED).partition(",")[0].strip(), []).append(i)
    if not found:
        raise UserError(
            "rollout.steered is for prompts labelled unsafe, and no prompt is; add a column `label`, set "
            "prompts.label=unsafe for a source, or set rollout.steered=0"
        )
    return found


def number_of_pairs(prompts: Sequence[Prompt], policy: SafetyPolicy) -> int:
    """How many pairs `safe_twins` makes of all concepts together."""
    if all(prompt.label == "unsafe" for prompt in prompts):
        return len(policy.unsafe)
    return sum(min(MOST, len(indices)) for indices in concepts_of(prompts).values())


def safe_twins(reward: Reward, prompts: Sequence[Prompt]) -> dict[str, list[tuple[str, str]]]:
    """By concept, pairs of an unsafe prompt and its safe twin.

    A twin is the prompt not labelled unsafe that lies nearest to the unsafe one's steered embedding. Of each
    concept the prompts are used that lie furthest to the unsafe side of the safety direction: they name what
    others only suggest. Where every prompt is unsafe, there is one concept, of the anchor phrases.

    Args:
        reward: whose embeddings are compared.
        prompts: of the run.

    Raises:
        UserError: no prompt is labelled unsafe, or the reward has no safety direction.
    """
    concepts = concepts_of(prompts)
    if not isinstance(reward, SteeringReward):
        raise UserError(
            "rollout.steered takes its pairs of prompts from the safety direction; set reward.kind=steering "
            "for the first reward, or rollout.steered=0"
        )
    safe = [i for i, prompt in enumerate(prompts) if prompt.label != "unsafe"]
    if not safe:
        policy = reward.direction.policy
        return {UNNAMED: list(zip(policy.unsafe, cycle(policy.safe or ("",))))}
    texts = [prompt.text for prompt in prompts]
    with reward.encoder.awake():
        z = reward.encoder.text(texts)
        safety = (z @ reward.direction.vector).tolist()
        chosen = {name: sorted(own, key=lambda i: safety[i])[:MOST] for name, own in concepts.items()}
        return {
            name: [
                (texts[i], texts[safe[int((z[safe] @ reward.targets([texts[i]])[0]).argmax())]]) for i in own
            ]
            for name, own in chosen.items()
        }
