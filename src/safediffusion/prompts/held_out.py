"""Which prompts of a run are never trained on, so that it can be judged on them.

Pure functions. The hash of a text decides, so neither the order of the prompts nor a resumed run changes the
choice, and a text that stands there twice lies on one side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from itertools import chain, zip_longest

from safediffusion.prompts.select import Prompt, text_key

Stratum = tuple[int, str]  # source and label


def text_hash(text: str) -> str:
    """SHA-256 of a prompt's text, by which prompts are put in order."""
    return hashlib.sha256(text_key(text).encode()).hexdigest()


def held_out_texts(prompts: Sequence[Prompt], share: float) -> set[str]:
    """The keys of the texts that are held out: of each source and label the share with the lowest hashes.

    A source keeps at least one text of each label to train on.

    Args:
        prompts: of a run.
        share: in [0, 1); less than half a prompt holds out nothing.
    """
    strata: dict[str, Stratum] = {}
    for prompt in prompts:
        key, own = text_key(prompt.text), (prompt.source, prompt.label or "")
        strata[key] = min(strata.get(key, own), own)
    found: set[str] = set()
    for stratum in set(strata.values()):
        texts = sorted((key for key, own in strata.items() if own == stratum), key=text_hash)
        found.update(texts[: min(round(share * len(texts)), len(texts) - 1)])
    return found


def split(prompts: Sequence[Prompt], held: Collection[str]) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts to train on, and those that are held out, each text of these once.

    The held-out ones are ordered by hash, those of the labels in turn, so that the first n are of all labels.

    Args:
        prompts: of a run.
        held: keys of the held-out texts.
    """
    train = [prompt for prompt in prompts if text_key(prompt.text) not in held]
    rest = {key: prompt for prompt in reversed(prompts) if (key := text_key(prompt.text)) in held}
    ordered = sorted(rest.values(), key=lambda prompt: text_hash(prompt.text))
    labels = sorted({prompt.label or "" for prompt in ordered}, reverse=True)
    columns = [[prompt for prompt in ordered if (prompt.label or "") == label] for label in labels]
    return train, [prompt for prompt in chain(*zip_longest(*columns)) if prompt is not None]
