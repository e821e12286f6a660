"""Which prompts a round draws: pure functions of seed, round and sizes.

So a resumed run, and one on several processes, draw the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from safediffusion.errors import UserError

if TYPE_CHECKING:
    from safediffusion.prompts.select import Prompt


def prompt_batch(n_prompts: int, seed: int, step: int, k: int, source: int = 0) -> list[int]:
    """Indices of the k different prompts of a step: one seeded permutation a pass over the set.

    A function of its arguments alone, so that resumed and split runs draw the same prompts. A pass
    leaves out the n_prompts % k prompts at its end, so that no batch spans two passes.
    """
    if not 1 <= k <= n_prompts:
        raise UserError(
            f"rollout.prompts is {k}, but there are {n_prompts} prompts; "
            f"set rollout.prompts={n_prompts} or less"
        )
    turn, place = divmod(step, n_prompts // k)
    order = np.random.default_rng([seed, turn, source]).permutation(n_prompts)
    return order[place * k : (place + 1) * k].tolist()


def mixed_batch(sizes: Sequence[int], weights: Sequence[float], seed: int, step: int, k: int) -> list[int]:
    """The k different prompts of a step, each source giving its share; sources lie one after the other.

    Args:
        sizes: prompts a source.
        weights: one a source.
        seed, step, k: as in prompt_batch, which each source is drawn by.
    """
    return [i for own, _ in considered_prompts(sizes, weights, seed, step, k) for i in own]


def considered_prompts(
    sizes: Sequence[int], weights: Sequence[float], seed: int, step: int, k: int, each: int = 1
) -> list[tuple[list[int], int]]:
    """Of each source the prompts that a step may draw, and how many of them it does.

    Args:
        sizes, weights, seed, step, k: as in mixed_batch.
        each: prompts considered for one that is drawn.
    """
    found, start = [], 0
    for source, (size, share) in enumerate(zip(sizes, shares(weights, k), strict=True)):
        asked = share * each
        if asked > size and (len(sizes) > 1 or each > 1):
            raise UserError(
                f"a step takes {asked} prompts of source {source}, which has {size}; "
                "lower rollout.prompts, rollout.considered or that source's weight"
            )
        found.append(([start + i for i in prompt_batch(size, seed, step, asked, source)], share))
        start += size
    return found


def deal(k: int, weights: Sequence[float]) -> list[int]:
    """k things dealt out by weight, the largest remainders rounded up."""
    exact = [k * weight / sum(weights) for weight in weights]
    dealt = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (dealt[i] - exact[i], i))
    for i in by_remainder[: k - sum(dealt)]:
        dealt[i] += 1
    return dealt


def shares(weights: Sequence[float], k: int) -> list[int]:
    """k prompts dealt out to the sources, each of which has some; the same in every step."""
    dealt = deal(k, weights)
    if 0 in dealt:
        raise UserError(
            f"rollout.prompts is {k}, which leaves no prompt a step for source {dealt.index(0)} of the "
            "mixture; raise rollout.prompts or that source's weight"
        )
    return dealt


def source_sizes(prompts: Sequence[Prompt]) -> list[int]:
    """Number of prompts per source, in order."""
    count = Counter(prompt.source for prompt in prompts)
    return [count[source] for source in sorted(count)]
