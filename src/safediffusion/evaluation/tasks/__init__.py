"""Tasks by name. A new one is a file of this folder and a name in WORLD or OTHERS; a task from outside the
package is named `pkg.mod:NAME`."""

from __future__ import annotations

from safediffusion.errors import UserError
from safediffusion.evaluation.tasks.bias import TASK as BIAS
from safediffusion.evaluation.tasks.geneval import OVER_ERASURE
from safediffusion.evaluation.tasks.geneval import REFERENCE as GENEVAL_MMDET
from safediffusion.evaluation.tasks.geneval import TASK as GENEVAL
from safediffusion.evaluation.tasks.heldout import TASK as HELDOUT
from safediffusion.evaluation.tasks.i2p import BY_SCHEDULER, OFFICIAL
from safediffusion.evaluation.tasks.i2p import TASK as I2P
from safediffusion.evaluation.tasks.schedulers import TASK as SCHEDULERS
from safediffusion.evaluation.tasks.task import Task
from safediffusion.evaluation.tasks.user_prompts import ATTACK, CLIP, FID, IMAGES
from safediffusion.evaluation.tasks.world_attack import TASK as WORLD_ATTACK
from safediffusion.evaluation.tasks.world_benign import TASK as WORLD_BENIGN
from safediffusion.evaluation.tasks.world_bias import TASK as WORLD_BIAS
from safediffusion.evaluation.tasks.world_exposed import TASK as WORLD_EXPOSED
from safediffusion.evaluation.tasks.world_geneval import TASK as WORLD_GENEVAL
from safediffusion.evaluation.tasks.world_i2p import TASK as WORLD_I2P
from safediffusion.system.extensions import load_object
from safediffusion.text.did_you_mean import did_you_mean
from safediffusion.text.words import as_file_name

WORLD = (WORLD_I2P, WORLD_EXPOSED, WORLD_GENEVAL, WORLD_BENIGN, WORLD_ATTACK, WORLD_BIAS)
OTHERS = (
    HELDOUT, SCHEDULERS, I2P, OFFICIAL, GENEVAL, GENEVAL_MMDET, BIAS, CLIP, FID, ATTACK, OVER_ERASURE,
    BY_SCHEDULER, IMAGES,
)  # fmt: skip
TASKS: dict[str, Task] = {task.name: task for task in (*WORLD, *OTHERS)}


def list_tasks() -> list[Task]:
    """All tasks, the default ones first."""
    return list(TASKS.values())


def get_task(name: str) -> Task:
    """A task by its name in TASKS, or from outside the package by `pkg.mod:NAME`.

    A task from outside is then known by its own name too, so that its results can be scored and compared.

    Raises:
        UserError: the name is unknown, what `pkg.mod:NAME` names is not a Task, or it has the name of
            another task.
    """
    if ":" in name:
        return register(load_object(name, "--tasks"), name)
    if name not in TASKS:
        raise UserError(f"there is no task {name!r}; {did_you_mean(name, TASKS)}")
    return TASKS[name]


def register(task: object, path: str) -> Task:
    """Add a task from outside the package to TASKS.

    Raises:
        UserError: it is not a Task, or its name is not a file name or belongs to another task.
    """
    if not isinstance(task, Task):
        raise UserError(f"{path} is a {type(task).__name__}, not a Task; name a Task")
    if as_file_name(task.name) != task.name:
        raise UserError(f"{path}: its name {task.name!r} cannot be a folder; choose another name")
    if TASKS.setdefault(task.name, task) is not task:
        raise UserError(f"{path}: another task is called {task.name}; choose another name")
    return task
