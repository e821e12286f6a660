"""Which denoising steps are stochastic and which are trained in a round; one choice for all its groups."""

from safediffusion.diffusion import noise
from safediffusion.diffusion.process import Schedule
from safediffusion.diffusion.rollout import stochastic_steps


def trainable_steps(schedule: Schedule, eta: float) -> list[int]:
    """Positions of the steps with a density; a step of deviation 0 can never be trained."""
    return stochastic_steps(schedule, [eta] * len(schedule))


def window_eta(schedule: Schedule, eta: float, window: int, seed: int, step: int) -> list[float]:
    """Eta of every step: `eta` inside a random window of trainable steps, 0 outside (MixGRPO, 2025).

    Args:
        window: length; 0 makes every step stochastic.
        seed, step: the window depends on these alone, so every member of a group shares it.
    """
    inside = trainable_steps(schedule, eta)
    if window:
        last = max(0, len(inside) - window)
        start = int(noise.generator(noise.SUBSET, seed, step, 0).integers(last + 1))
        inside = inside[start : start + window]
    return [eta if i in inside else 0.0 for i in range(len(schedule))]


def trained_steps(candidates: list[int], fraction: float, seed: int, step: int) -> list[int]:
    """A random share of the stochastic steps, at least one, in sampling order."""
    count = max(1, round(fraction * len(candidates)))
    chosen = noise.generator(noise.SUBSET, seed, step, 1).choice(candidates, size=count, replace=False)
    return sorted(int(i) for i in chosen)
