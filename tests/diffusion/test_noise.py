"""Streams of random numbers: no two keys share one, and those of earlier releases stay what they were."""

from itertools import product

import numpy as np
import pytest

from safediffusion.diffusion import noise

WORD = 2**32  # NumPy cuts larger numbers into words
SEEDS = (0, 1, 2, 5, WORD - 1, WORD, WORD + 5, 5 * WORD, 2**63)


def states(purpose: int) -> dict[tuple[int, ...], bytes]:
    """First numbers of the streams of many keys of a purpose."""
    rest = len(noise.FIELDS[purpose]) - 1
    keys = product(SEEDS, *[(0, 1, 5)] * rest)
    return {(purpose, *key): noise.generator(purpose, *key).bytes(16) for key in keys}


def test_no_two_keys_share_a_stream() -> None:
    found = {key: state for purpose in noise.FIELDS for key, state in states(purpose).items()}
    assert len(found) > 2_500
    assert len(set(found.values())) == len(found)


@pytest.mark.parametrize("purpose", noise.FIELDS)
def test_a_key_of_another_length_is_refused(purpose: int) -> None:
    key = (7,) * len(noise.FIELDS[purpose])
    for wrong in ((*key, 0), key[:-1]):
        with pytest.raises(ValueError, match="names seed"):
            noise.generator(purpose, *wrong)


@pytest.mark.parametrize(
    "key",
    [
        (noise.ROLLOUT, 3, 0, 5, 0),
        (noise.FORWARD, 3, 0, 5, 0, 1, 0),
        (noise.SUBSET, 3, 0, 0),
        (noise.SAMPLE, 0),
    ],
)
def test_streams_of_earlier_runs_stay_what_they_were(key: tuple[int, ...]) -> None:
    earlier = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
    assert noise.generator(*key).bytes(16) == earlier.bytes(16)
