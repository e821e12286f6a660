"""Deterministic sampling steps of first and second order, for diffusion and flow matching."""

import torch
from torch import Tensor

from safediffusion.config.schema import Solver
from safediffusion.diffusion.noise_process import Schedule, at


def corrections(schedule: Schedule) -> Tensor:
    """Weight of the change of x0 since the previous step, in each step of DPM-Solver++(2M), (T,).

    It is h_i / (2 h_(i-1)), with h the step in log(signal / noise). It is 0 at the first step, which has no
    previous one, and at the last, where h may be infinite and first order is steadier (Lu et al., 2022,
    appendix).
    """
    signal_t, noise_t, signal_s, noise_s = schedule.levels
    h = (signal_s / noise_s).log() - (signal_t / noise_t).log()
    inner = h[1:-1] / (2 * h[:-2])
    ends = torch.zeros_like(h[:1])
    return torch.cat([ends, inner, ends])[: len(h)]


class Steps:
    """Steps of one batch along the probability-flow ODE.

    Args:
        schedule: the noise levels.
        solver: "ddim" is of first order (Euler's step in flow matching); "dpm++" is DPM-Solver++(2M) (Lu et
            al., 2022, algorithm 2), of second order.
    """

    def __init__(self, schedule: Schedule, solver: Solver) -> None:
        self.schedule = schedule
        self.corrections = corrections(schedule) if solver == "dpm++" else None
        self.before: Tensor | None = None

    def __call__(self, output: Tensor, latents: Tensor, i: int) -> Tensor:
        """Latents after step i, (n, c, h, w), from the network's output at x_t."""
        if self.corrections is None:
            return self.schedule.step(output, latents, i, 0.0)[0]
        x0 = self.schedule.clean(output, latents, i)
        ahead = x0 if self.before is None else x0 + at(self.corrections, i) * (x0 - self.before)
        self.before = x0
        signal_t, noise_t, signal_s, noise_s = (at(level, i) for level in self.schedule.levels)
        kept = noise_s / noise_t
        return kept * latents + (signal_s - signal_t * kept) * ahead

    def forget(self) -> None:
        """Use first order at the next step; called after a stochastic step.

        The second-order correction extrapolates x0 along one path, and the noise has moved to another."""
        self.before = None
