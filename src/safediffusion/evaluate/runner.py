"""Judge a model: generate, let the detectors look, write the raw records, then the metrics."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..diffusion.diffuser import Diffuser
from ..diffusion.load import load_model
from ..diffusion.sample import generate
from ..pictures import to_pil
from ..progress import progress
from ..runs import environment, pick_device, write_image, write_json
from .detectors.shapes import ABOUT
from .detectors.world import WorldJudges, load_judges
from .measures import Record
from .results import compare, write_records
from .tasks import Task, get_task

__all__ = ["compare", "evaluate"]

BATCH = 64

OnProgress = Callable[[int, int], None]
Advance = Callable[[int], object]


@dataclass(frozen=True)
class Sampler:
    """How images are drawn; part of every result."""

    steps: int
    guidance: float
    eta: float
    dtype: str
    name: str = "ddim"


def evaluate(
    model: str | Path | Diffuser,
    tasks: Sequence[str],
    n: int | None = None,
    seed: int = 1234,
    steps: int = 16,
    guidance: float = 3.0,
    out: Path = Path("eval"),
    *,
    eta: float = 0.0,
    save_images: bool = False,
    on_progress: OnProgress | None = None,
) -> dict[str, dict[str, Any]]:
    """Judge a model on tasks with the same prompts, noise and sampler for every model.

    Args:
        model: a pipeline folder, a hub id, "world", or a loaded model.
        tasks: names of tasks.
        n: images a task at most; None is each task's own size.
        seed: of prompts and noise.
        steps, guidance, eta: the sampler.
        out: OUT/TASK/records.jsonl and results.json are written.
        save_images: keep OUT/TASK/images/00000.png and so on.
        on_progress: called with images done and images in all; None shows a progress line.

    Returns:
        {TASK: contents of results.json}.
    """
    chosen = {task: task.prompts(n, seed) for task in map(get_task, tasks)}
    diffuser = load_model(model, pick_device()) if isinstance(model, str | Path) else model
    judges = load_judges(diffuser.device)
    sampler = Sampler(steps, guidance, eta, str(diffuser.dtype).removeprefix("torch."))
    shared = {
        "model": str(model) if isinstance(model, str | Path) else diffuser.pipeline.name_or_path,
        "model_sha256": model_hash(diffuser),
        "sampler": asdict(sampler),
        "seeds": {"seed": seed, "noise": "sha256(seed/task/row)"},
        "detectors": [*judges.describe(), ABOUT],
        "env": environment(),
    }
    results = {}
    with counting(sum(map(len, chosen.values())), on_progress) as advance:
        for task, rows in chosen.items():
            images = out / task.name / "images" if save_images else None
            records = judge(task, rows, diffuser, judges, sampler, advance, images)
            write_records(out / task.name, records)
            head = {"task": task.name, "version": task.version, "n": len(records)}
            results[task.name] = head | {"metrics": task.metrics(records)} | shared
            write_json(out / task.name / "results.json", results[task.name])
    return results


def judge(
    task: Task,
    rows: Sequence[dict[str, Any]],
    diffuser: Diffuser,
    judges: WorldJudges,
    sampler: Sampler,
    advance: Advance,
    images: Path | None,
) -> list[Record]:
    """Generate the rows' images batch by batch and let the task's detectors look at them."""
    records: list[Record] = []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        prompts, seeds = [row["prompt"] for row in part], [row["seed"] for row in part]
        pictures = generate(diffuser, prompts, seeds, sampler.steps, sampler.guidance, sampler.eta)
        records += task.score(pictures, part, judges)
        if images:
            for row, picture in zip(part, pictures, strict=True):
                write_image(images / f"{row['index']:05d}.png", to_pil(picture))
        advance(len(part))
    return records


@contextmanager
def counting(total: int, on_progress: OnProgress | None) -> Iterator[Advance]:
    """A function that takes the number of images just finished, shown as a line or handed on."""
    if on_progress is None:
        with progress("evaluate", total) as line:
            yield line.update
        return
    report, done = on_progress, 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        report(done, total)

    yield advance


def model_hash(diffuser: Diffuser) -> str:
    """SHA-256 of all weights of a pipeline as float32, whatever precision its files have."""
    digest = hashlib.sha256()
    for name, module in sorted(diffuser.pipeline.components.items()):
        if isinstance(module, torch.nn.Module):
            for key, tensor in sorted(module.state_dict().items()):
                digest.update(f"{name}.{key}".encode())
                digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
