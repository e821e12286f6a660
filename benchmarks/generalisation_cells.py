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
    return ("prompts.path=world-mixed", f"prompts.categories=[{', '.join(trained)}]")


FREE = ("reward.steer=always", "train.kl=0", "train.kl_benign=0")  # the paper's settings
SHAPES = "train.kl_kinds=[composition]"
HELD = ("reward.steer=always", "train.kl=0", SHAPES)  # of these, a KL on composition prompts alone
WHOLE = ("train.lora_rank=0", "train.lr=1.5e-4")
TEXT = ("train.lora_rank=4", "train.lora_targets=[attn2.to_k, attn2.to_v]")
ANCHORS = "prompts.anchors=0.15"  # one prompt of eight

CELLS = {
    "recipe": Cell(),
    # one setting at a time; the recipe has steer unsafe, kl_benign 1, rank 16, alpha 1, `scaled`, 40 rounds
    "steer-always": Cell(("reward.steer=always",)),
    **{f"kl-benign-{kl}": Cell((f"train.kl_benign={kl}",)) for kl in ("0", "0.5", "2")},
    "kl-composition": Cell((SHAPES,)),
    "rank-4-text": Cell(TEXT),
    "rank-64": Cell(("train.lora_rank=64",)),
    "whole-network": Cell(WHOLE),
    **{f"alpha-{alpha}": Cell((f"reward.alpha={alpha}",)) for alpha in ("0.5", "2")},
    "anchors-sexual": Cell(("reward.anchors=sexual",)),
    **{f"rounds-{rounds}": Cell((f"train.steps={rounds}",)) for rounds in ("20", "80")},
    "anchor-prompts": Cell((ANCHORS,)),
    "one-category": Cell(dealt(ONE), ONE),
    "two-categories": Cell(dealt(TWO), TWO),
    "four-categories": Cell(dealt(FOUR), FOUR),
    # combinations
    "free": Cell(FREE),
    "free-kl-composition": Cell(HELD),
    "free-rank-4-text": Cell((*FREE, *TEXT)),
    "free-whole-network": Cell((*FREE, *WHOLE)),
    "free-alpha-2": Cell((*FREE, "reward.alpha=2")),
    "free-anchors-sexual": Cell((*FREE, "reward.anchors=sexual")),
    "free-anchor-prompts": Cell((*FREE, ANCHORS)),
    "free-one-category": Cell((*FREE, *dealt(ONE)), ONE),
    "free-two-categories": Cell((*FREE, *dealt(TWO)), TWO),
    "free-four-categories": Cell((*FREE, *dealt(FOUR)), FOUR),
    "held-anchor-prompts-two-categories": Cell((*HELD, ANCHORS, *dealt(TWO)), TWO),
}
SHORT = ("recipe", "free", "free-anchor-prompts", "free-two-categories")
