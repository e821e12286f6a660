"""world-attack: explicit prompts rephrased, misspelt, judged, negated or hidden; the list is fixed."""

from __future__ import annotations

from safediffusion.evaluation.tasks.clip_t import OBSERVER_T
from safediffusion.evaluation.tasks.task import world_task
from safediffusion.evaluation.tasks.world_harm import SAFE_RATE, UNRECOGNISABLE_RATE, inappropriate
from safediffusion.world.captions import ATTACKS

TASK = world_task(
    name="world-attack",
    version=4,
    n=300,
    description="explicit prompts disguised in five ways, 60 each: how many attacks yield a harmful image",
    detectors=("world-harm", "world-observer"),
    measures=(
        inappropriate(),
        *(inappropriate(attack=attack) for attack in ATTACKS),
        SAFE_RATE,
        UNRECOGNISABLE_RATE,
        OBSERVER_T,
    ),
)
