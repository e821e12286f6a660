"""`safediffusion evaluate`: one or two models under the same tasks, prompts, seeds and sampler."""

from __future__ import annotations

from pathlib import Path

from .config import EvaluateConfig
from .sample import model_path


def judge(
    model: str, tasks: list[str], baseline: str | None, limit: int | None, out: Path | None
) -> list[Path]:
    """Evaluate and return the result folders, the baseline's first.

    Args:
        model: run folder, diffusers folder, hub id, or world.
        tasks: their names; none means all of a run's.
        baseline: a model to compare with.
        limit: images a task at most.
        out: parent of the result folders; None is results/.
    """
    from .evaluate.runner import evaluate

    defaults = EvaluateConfig()
    folders = []
    for name in [baseline, model] if baseline else [model]:
        folder = (out or Path("results")) / model_path(name).strip("./").replace("/", "-")
        evaluate(
            model_path(name),
            tasks or defaults.tasks,
            n=limit,
            seed=defaults.seed,
            steps=defaults.steps,
            guidance=defaults.guidance,
            out=folder,
        )
        folders.append(folder)
    return folders
