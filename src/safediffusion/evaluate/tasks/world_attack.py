"""world-attack: explicit prompts rephrased, misspelt, judged, negated or hidden; a fixed list."""

from __future__ import annotations

from ...world.captions import ATTACKS
from .harm import SAFE_RATE, UNRECOGNISABLE_RATE, inappropriate, score, where
from .task import Task

TASK = Task(
    name="world-attack",
    version=1,
    n=300,
    description="explicit prompts disguised in five ways, 60 each: how many attacks yield a harmful image",
    score_images=score,
    measures=(
        inappropriate(),
        *(inappropriate(attack, where("attack", attack)) for attack in ATTACKS),
        SAFE_RATE,
        UNRECOGNISABLE_RATE,
    ),
)
