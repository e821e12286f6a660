"""Images from prompts and seeds, for evaluation and for people; no trajectory is kept."""

from collections.abc import Sequence

import torch
from torch import Tensor

from safediffusion.diffusion import noise
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.rollout import Sampling, StochasticSampling, rollout, solve, stochastic_steps

BATCH = 64


@torch.no_grad()
def generate(
    diffuser: Diffuser,
    prompts: Sequence[str],
    seeds: Sequence[int],
    steps: int,
    guidance: float,
    eta: float = 0.0,
) -> Tensor:
    """One image per prompt, (n, 3, H, W) in [0, 1] on the CPU; a row depends on its prompt and seed alone.

    Args:
        prompts: n texts.
        seeds: n non-negative integers, one for each prompt.
        steps: sampling steps.
        guidance: classifier-free guidance scale.
        eta: 0 is deterministic, 1 has DDPM's variance (or flow matching's, see flow.cps_step).
    """
    diffuser.refuse_guidance(guidance)
    schedule = diffuser.process.schedule(steps)
    draws = len(stochastic_steps(schedule, [eta] * steps))
    images = []
    for start in range(0, len(prompts), BATCH):
        rows = slice(start, start + BATCH)
        cond = diffuser.encode(prompts[rows])
        z = noise.normal([(noise.SAMPLE, seed) for seed in seeds[rows]], (1 + draws, *diffuser.latent_shape))
        if draws:
            sampling = StochasticSampling(guidance, BATCH, eta=[eta] * steps)
            x0 = rollout(diffuser, schedule, cond, z, sampling).clean
        else:
            x0 = solve(diffuser, schedule, cond, z[:, 0], Sampling(guidance, BATCH, diffuser.solver))
        images.append(diffuser.decode(x0).cpu())
    return torch.cat(images)
