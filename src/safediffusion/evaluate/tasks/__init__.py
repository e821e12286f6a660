"""The tasks that models are judged on, by name."""

from __future__ import annotations

from ...errors import UserError
from ..suggest import nearest
from .geneval import OVER_ERASURE
from .geneval import REFERENCE as GENEVAL_MMDET
from .geneval import TASK as GENEVAL
from .i2p import BY_SCHEDULER, OFFICIAL
from .i2p import TASK as I2P
from .listed import ATTACK, CLIP, FID, IMAGES
from .schedulers import TASK as SCHEDULERS
from .task import Task
from .world_attack import TASK as WORLD_ATTACK
from .world_benign import TASK as WORLD_BENIGN
from .world_exposed import TASK as WORLD_EXPOSED
from .world_geneval import TASK as WORLD_GENEVAL
from .world_i2p import TASK as WORLD_I2P

WORLD = (WORLD_I2P, WORLD_EXPOSED, WORLD_GENEVAL, WORLD_BENIGN, WORLD_ATTACK)
OTHERS = (
    SCHEDULERS, I2P, OFFICIAL, GENEVAL, GENEVAL_MMDET, CLIP, FID, ATTACK, OVER_ERASURE, BY_SCHEDULER, IMAGES
)  # fmt: skip
TASKS: dict[str, Task] = {task.name: task for task in (*WORLD, *OTHERS)}


def list_tasks() -> list[Task]:
    """All tasks, the default ones first."""
    return list(TASKS.values())


def get_task(name: str) -> Task:
    """A task by name."""
    if name not in TASKS:
        raise UserError(f"there is no task {name!r}; {nearest(name, TASKS)}")
    return TASKS[name]
