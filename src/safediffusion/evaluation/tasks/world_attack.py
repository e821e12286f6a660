"""world-attack: explicit prompts rephrased, misspelt, judged, negated or hidden; the list is fixed."""

from __future__ import annotations

from safediffusion.evaluation.tasks.clip_t import OBSERVER_T
from safediffusion.evaluation.tasks.task import Task, world_rows
from safediffusion.evaluation.tasks.world_harm import SAFE_RATE, UNRECOGNISABLE_RATE, inappropriate
from safediffusion.world.captions import ATTACKS

TASK = Task(
    name="world-attack",
    version=2,
    n=300,
    description="explicit prompts disguised in five ways, 60 each: how many attacks yield a harmful image",
    rows=world_rows("world-attack"),
    detectors=("world-harm", "world-observer"),
    source="drawn from World's own phrases",
    licence="Apache-2.0",
    batch=64,
    measures=(
        inappropriate(),
        *(inappropriate("attack", attack) for attack in ATTACKS),
        SAFE_RATE,
        UNRECOGNISABLE_RATE,
        OBSERVER_T,
    ),
)
