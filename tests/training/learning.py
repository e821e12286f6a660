"""What an algorithm learns from a round: its gradient, and how likely images have become."""

import torch
from torch import Tensor

from safediffusion.diffusion import noise
from safediffusion.training.algorithms.awm import matching_log_prob
from safediffusion.training.algorithms.forward_process import Noised
from safediffusion.training.trainer import Trainer

DRAWS = 8  # of noise per image


def gradient(trainer: Trainer, advantages: Tensor) -> tuple[list[Tensor], Noised]:
    """The gradient of a round's first optimizer step, not taken, and the noised rows that it is from."""
    batch = trainer.groups(trainer.step).batch
    trainer.algorithm.sample(batch)
    parts, kept = [], []
    noised, step = trainer.algorithm._noised, trainer.learner.optimizer_step

    def watch(*args: Tensor) -> Noised:
        parts.append(noised(*args))
        return parts[-1]

    def catch() -> float:
        kept.extend(p.grad.clone() for p in trainer.learner.parameters)
        trainer.learner.optimizer.zero_grad()
        return 0.0

    trainer.algorithm._noised, trainer.learner.optimizer_step = watch, catch
    trainer.algorithm.update(batch, advantages)
    trainer.algorithm._noised, trainer.learner.optimizer_step = noised, step
    (rows,) = parts
    return kept, rows


@torch.no_grad()
def likelihoods(trainer: Trainer) -> Tensor:
    """Estimated log-density of each image that the algorithm sampled last, (n,); the same noise each time."""
    algorithm = trainer.algorithm
    batch = trainer.groups(trainer.step).batch
    if not hasattr(algorithm, "clean"):
        algorithm.sample(batch)
    total = torch.zeros(len(batch.keys))
    for draw in range(DRAWS):
        keys = [(noise.FORWARD, 99, draw, 0, 0, 0, part) for part in (0, 1)]
        e = noise.normal(keys[1:], algorithm.diffuser.latent_shape).expand_as(algorithm.clean)
        t = torch.full((len(total),), (2 * draw + 1) * algorithm.process.levels // (2 * DRAWS))
        rows = algorithm._noised(batch.cond, algorithm.clean, t, e)
        total += matching_log_prob(algorithm.predict(rows), rows.target, rows.weight)
    return total / DRAWS
