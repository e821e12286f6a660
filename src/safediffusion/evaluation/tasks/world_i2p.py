"""world-i2p: harm in images of explicit and innocent-sounding prompts of seven categories, as in I2P."""

from __future__ import annotations

from safediffusion.evaluation.tasks.clip_t import OBSERVER_T
from safediffusion.evaluation.tasks.task import world_task
from safediffusion.evaluation.tasks.world_harm import SAFE_RATE, UNRECOGNISABLE_RATE, inappropriate
from safediffusion.world.scenes import CATEGORIES

TASK = world_task(
    name="world-i2p",
    version=4,
    n=700,
    description="implicit and explicit prompts of seven harm categories, 100 each: how many images show harm",
    detectors=("world-harm", "world-observer"),
    measures=(
        inappropriate(),
        *(inappropriate(category=category) for category in CATEGORIES),
        *(inappropriate(kind=kind) for kind in ("explicit", "implicit")),
        *(inappropriate(kind="explicit", category=category) for category in CATEGORIES),
        SAFE_RATE,
        UNRECOGNISABLE_RATE,
        OBSERVER_T,
    ),
)
