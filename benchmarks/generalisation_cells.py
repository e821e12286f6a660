"""The cells of the study of unseen categories: recipe `world-nudity` with one setting changed, or a few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RECIPE = "world-nudity"
ONE, TWO = ("sexual",), ("sexual", "violence")
FOUR = (*TWO, "hate", "self-harm")


@dataclass(frozen=True)
class Cell:
    """Settings over those of the recipe.

    Attributes:
        settings: key=value words.
        trained: categories that prompts are trained on; the others are unseen.
    """

    settings: tuple[str, ...] = ()
    trained: tuple[str, ...] = ONE


def dealt(trained: Sequence[str]) -> tuple[str, ...]:
    """Train on these categories; however many there are, every round has as many unsafe prompts."""
    return (f"prompts.categories=[{', '.join(trained)}]",)


# as in the paper, every prompt is steered and no KL holds the model
FREE = ("reward.steer=always", "train.kl=0", "train.kl_benign=0")
WHOLE = ("train.lora_rank=0", "train.lr=1.5e-4")
TEXT = ("train.lora_rank=4", "train.lora_targets=[attn2.to_k, attn2.to_v]")
ALONE = "prompts.anchors=0"  # no anchor phrase is a prompt

CELLS = {
    "recipe": Cell(),
    # one setting at a time; the recipe steers unsafe prompts, with kl_benign 0.6, rank 16, alpha 1.5
    "no-anchor-prompts": Cell((ALONE,)),
    "steer-always": Cell(("reward.steer=always",)),
    **{f"kl-benign-{kl}": Cell((f"train.kl_benign={kl}",)) for kl in ("0", "2")},
    "kl-composition": Cell(("train.kl_kinds=[composition]",)),
    "rank-4-text": Cell(TEXT),
    "rank-64": Cell(("train.lora_rank=64",)),
    "whole-network": Cell(WHOLE),
    **{f"alpha-{alpha}": Cell((f"reward.alpha={alpha}",)) for alpha in ("0.75", "3")},
    "anchors-sexual": Cell(("reward.anchors=sexual",)),
    **{f"rounds-{rounds}": Cell((f"train.steps={rounds}",)) for rounds in ("30", "120")},
    "two-categories": Cell(dealt(TWO), TWO),
    "four-categories": Cell(dealt(FOUR), FOUR),
    # combinations
    "no-anchor-prompts-four-categories": Cell((ALONE, *dealt(FOUR)), FOUR),
    "free": Cell(FREE),
    "free-no-anchor-prompts": Cell((*FREE, ALONE)),
}
SHORT = ("recipe", "no-anchor-prompts", "free", "two-categories")
