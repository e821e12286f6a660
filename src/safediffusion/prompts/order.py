"""Which prompts a round uses: pure functions of seed, round and sizes.

A resumed run and a run on any number of processes therefore use the same prompts.
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
    """Indices of the k different prompts of a round: one seeded permutation per pass over the set.

    A pass leaves out the n_prompts % k prompts at its end, so that no round spans two passes.

    Args:
        n_prompts: size of the set.
        seed, step: of the run, and of the round, from 0.
        k: prompts per round.
        source: number of the source, so that two sources have different permutations.

    Raises:
        UserError: k is less than 1 or more than n_prompts.
    """
    if not 1 <= k <= n_prompts:
        raise UserError(
            f"rollout.prompts is {k}, but there are {n_prompts} prompts; "
            f"set rollout.prompts={n_prompts} or less"
        )
    turn, place = divmod(step, n_prompts // k)
    order = np.random.default_rng([seed, turn, source]).permutation(n_prompts)
    return order[place * k : (place + 1) * k].tolist()


def considered_prompts(
    sizes: Sequence[int], weights: Sequence[float], seed: int, step: int, k: int, each: int = 1
) -> list[tuple[list[int], int]]:
    """For each source, the indices of the prompts considered in a round, and how many of them are used.

    The sources lie one after the other, so the indices of a source begin where those of the one before end.

    Args:
        sizes: number of prompts of each source.
        weights: one per source; each round uses prompts of every source in these shares.
        seed, step: of the run, and of the round, from 0.
        k: prompts used per round.
        each: prompts considered for each that is used.

    Raises:
        UserError: a source would get none, or is smaller than the number considered.
    """
    found, start = [], 0
    for source, (size, share) in enumerate(zip(sizes, shares(weights, k), strict=True)):
        asked = share * each
        if asked > size and (len(sizes) > 1 or each > 1):
            raise UserError(
                f"a round takes {asked} prompts of source {source}, which has {size}; "
                "lower rollout.prompts, rollout.considered or that source's weight"
            )
        found.append(([start + i for i in prompt_batch(size, seed, step, asked, source)], share))
        start += size
    return found


def deal(k: int, weights: Sequence[float]) -> list[int]:
    """How many of k things each weight gets: the exact shares, the largest remainders rounded up."""
    exact = [k * weight / sum(weights) for weight in weights]
    dealt = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (dealt[i] - exact[i], i))
    for i in by_remainder[: k - sum(dealt)]:
        dealt[i] += 1
    return dealt


def shares(weights: Sequence[float], k: int) -> list[int]:
    """How many of the k prompts of a round each source gives; the same in every round.

    Raises:
        UserError: a source would give none.
    """
    dealt = deal(k, weights)
    if 0 in dealt:
        raise UserError(
            f"rollout.prompts is {k}, which leaves no prompt per round for source {dealt.index(0)} of the "
            "mixture; raise rollout.prompts or that source's weight"
        )
    return dealt


def source_sizes(prompts: Sequence[Prompt]) -> list[int]:
    """Number of prompts per source, in order."""
    count = Counter(prompt.source for prompt in prompts)
    return [count[source] for source in sorted(count)]
