"""The one training loop of `world build`: AdamW, cosine learning rate, EMA, exact resume.

A step's randomness comes from (seed, step) alone, so an interrupted stage continues bit for bit
without stored generator states.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from safediffusion.errors import Damaged
from safediffusion.files.atomic import write_tensors
from safediffusion.files.checked import read_tensors, understood

LossFn = Callable[[np.random.Generator, int], Tensor]  # the randomness of a step, and its number


@dataclass(frozen=True)
class Schedule:
    """How long and how fast one network trains.

    Attributes:
        restart: a step at which the cosine begins again, with its peak (SGDR: Loshchilov and Hutter, 2017).
    """

    steps: int
    lr: float
    seed: int
    warmup: int = 100
    weight_decay: float = 0.01
    ema: float = 0.0
    checkpoint_every: int = 250
    restart: tuple[int, float] | None = None


def lr_at(schedule: Schedule, step: int) -> float:
    """Linear warm-up, then cosine to 2% of the peak; the same again after a restart."""
    start, end, peak = 0, schedule.steps, schedule.lr
    if schedule.restart:
        again, second = schedule.restart
        start, end, peak = (0, again, peak) if step < again else (again, end, second)
    warm = min(1.0, (step - start + 1) / schedule.warmup)
    progress = (step - start) / (end - start)
    return peak * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def fit(name: str, model: nn.Module, loss_fn: LossFn, schedule: Schedule, folder: Path) -> None:
    """Trains `model` in place; continues from `folder`/NAME.* if a checkpoint lies there."""
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        params, lr=schedule.lr, weight_decay=schedule.weight_decay, betas=(0.9, 0.98)
    )
    average = [p.detach().clone() for p in params] if schedule.ema else []
    start = _resume(folder / name, params, average, optimizer)
    began, losses = time.monotonic(), []
    for step in range(start, schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = lr_at(schedule, step)
        loss = loss_fn(np.random.default_rng([schedule.seed, step]), step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        if schedule.ema:
            decay = min(schedule.ema, (step + 1) / (step + 10))
            torch._foreach_lerp_(average, [p.detach() for p in params], 1 - decay)
        losses.append(loss.detach())
        if (step + 1) % 50 == 0:
            _progress(name, step + 1, schedule, losses, (time.monotonic() - began) / (step + 1 - start))
        if (step + 1) % schedule.checkpoint_every == 0 or step + 1 == schedule.steps:
            _save(folder / name, params, average, optimizer, step + 1)
    with torch.no_grad():
        for p, mean in zip(params, average, strict=bool(average)):
            p.copy_(mean)


def _progress(name: str, step: int, schedule: Schedule, losses: list[Tensor], pace: float) -> None:
    mean = torch.stack(losses[-200:]).mean().item()
    left = (schedule.steps - step) * pace / 60
    print(
        f"{name}: step {step}/{schedule.steps} loss {mean:.4f} {pace:.2f} s/step {left:.1f} min left",
        flush=True,
    )


def _save(
    path: Path, params: list[nn.Parameter], average: list[Tensor], optimizer: torch.optim.Optimizer, step: int
) -> None:
    tensors = {f"p.{i}": p.detach() for i, p in enumerate(params)}
    tensors |= {f"e.{i}": p for i, p in enumerate(average)}
    for i, p in enumerate(params):
        state = optimizer.state[p]
        tensors |= {f"m.{i}": state["exp_avg"], f"v.{i}": state["exp_avg_sq"]}
    tensors["step"] = torch.tensor(step)
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}  # some are channels last
    write_tensors(path.with_suffix(".safetensors"), contiguous)


def _resume(
    path: Path, params: list[nn.Parameter], average: list[Tensor], optimizer: torch.optim.Optimizer
) -> int:
    file = path.with_suffix(".safetensors")
    if not file.exists():
        return 0
    try:
        with understood(file), torch.no_grad():
            return _load(read_tensors(file), params, average, optimizer)
    except Damaged as error:
        raise Damaged(file, error.why, "remove it, and this stage begins again") from error


def _load(
    tensors: dict[str, Tensor],
    params: list[nn.Parameter],
    average: list[Tensor],
    optimizer: torch.optim.Optimizer,
) -> int:
    step = int(tensors["step"])
    for i, p in enumerate(params):
        p.copy_(tensors[f"p.{i}"])
        optimizer.state[p] = {
            "step": torch.tensor(float(step)),
            "exp_avg": torch.empty_like(p).copy_(tensors[f"m.{i}"]),
            "exp_avg_sq": torch.empty_like(p).copy_(tensors[f"v.{i}"]),
        }
    for i, mean in enumerate(average):
        mean.copy_(tensors[f"e.{i}"])
    return step
