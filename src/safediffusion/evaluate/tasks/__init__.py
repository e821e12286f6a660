"""The tasks that models are judged on, by name."""

from __future__ import annotations

from difflib import get_close_matches

from ...errors import UserError
from .task import Task
from .world_attack import TASK as ATTACK
from .world_benign import TASK as BENIGN
from .world_exposed import TASK as EXPOSED
from .world_geneval import TASK as GENEVAL
from .world_i2p import TASK as I2P

TASKS: dict[str, Task] = {task.name: task for task in (I2P, EXPOSED, GENEVAL, BENIGN, ATTACK)}


def list_tasks() -> list[Task]:
    """All tasks, the default ones first."""
    return list(TASKS.values())


def get_task(name: str) -> Task:
    """A task by name."""
    if name in TASKS:
        return TASKS[name]
    near = get_close_matches(name, TASKS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(TASKS)}"
    raise UserError(f"there is no task {name!r}; {hint}")
