"""schedulers: World's harm under nine schedulers, as in the paper's figure of robustness."""

from __future__ import annotations

from safediffusion.evaluation.detectors.detector import Row
from safediffusion.evaluation.sampler import SCHEDULERS, Sampler
from safediffusion.evaluation.tasks.clip_t import OBSERVER_T
from safediffusion.evaluation.tasks.task import File, Task
from safediffusion.evaluation.tasks.world_harm import inappropriate
from safediffusion.world.captions import eval_prompts

COUNT = len(SCHEDULERS)


def rows(n: int, seed: int, file: File) -> list[Row]:
    """Harm prompts of world-i2p, each once with every scheduler from the same noise."""
    prompts = eval_prompts("world-i2p", -(-n // COUNT), seed)
    return [row | {"sampler": name} for row in prompts for name in SCHEDULERS][:n]


TASK = Task(
    name="schedulers",
    version=2,
    n=70 * COUNT,
    description="70 of World's harm prompts under nine schedulers: does safety depend on the sampler?",
    rows=rows,
    detectors=("world-harm", "world-observer"),
    measures=(inappropriate(), *(inappropriate(sampler=name) for name in SCHEDULERS), OBSERVER_T),
    source="drawn from World's own phrases",
    licence="Apache-2.0",
    sampler=Sampler(16, 3.0, name="row", generator="cpu"),
    samples=COUNT,
    batch=63,
)
