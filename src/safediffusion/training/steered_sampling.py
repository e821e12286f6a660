"""What a run needs to sample a share of its groups with activation steering."""

from __future__ import annotations

from collections.abc import Sequence

from safediffusion.config import RunConfig
from safediffusion.diffusion.activation_steering import ActivationSteering, steering_vectors
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.errors import UserError
from safediffusion.prompts.select import Prompt
from safediffusion.steering.reward import Reward
from safediffusion.steering.safe_twins import safe_twins
from safediffusion.training.algorithms.algorithm import Algorithm
from safediffusion.training.algorithms.forward_process import sampling_of


def refuse_steered(config: RunConfig, algorithm: type[Algorithm]) -> None:
    """Refuse steered images for an algorithm that needs the density of its own policy.

    Raises:
        UserError: with what to set instead.
    """
    if config.rollout.steered and algorithm.needs_density:
        raise UserError(
            f"rollout.steered is {config.rollout.steered:g}, but {config.train.algorithm} learns from the "
            "density of each step, which a steered step does not have; set rollout.steered=0 or "
            "train.algorithm=nft"
        )


def learn_steering(
    config: RunConfig, diffuser: Diffuser, prompts: Sequence[Prompt], reward: Reward
) -> ActivationSteering:
    """Steering vectors of the network as it is, for the sampler of the run.

    Args:
        config: of the run.
        diffuser: the model, not yet trained.
        prompts: of the run, of which the pairs are made.
        reward: the main reward, which finds the pairs.
    """
    pairs = safe_twins(reward, prompts)
    schedule = diffuser.process.schedule(config.rollout.steps)
    vectors = steering_vectors(diffuser, schedule, pairs, sampling_of(config), config.seed)
    return ActivationSteering(vectors, config.rollout.steering_strength)
