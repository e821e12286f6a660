"""The work of a training round, counted on the model's shapes; time and memory follow from it.

Nothing is run: on the meta device a known model is counted without weights. See docs/scaling.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from safediffusion.config import RunConfig
from safediffusion.prompts.select import Prompt
from safediffusion.run.memory import memory
from safediffusion.run.model_cost import ModelCost
from safediffusion.steering.anchors import load_safety_policy
from safediffusion.steering.safe_twins import number_of_pairs
from safediffusion.training.algorithms import get_algorithm
from safediffusion.training.algorithms.call_size import passes

MIB = 2**20


@dataclass(frozen=True)
class Work:
    """The work of a round on the device that has most.

    Attributes:
        sample_flops: of the network while sampling, both passes of guidance included.
        sample_calls: of the network while sampling.
        decode_flops: of the autoencoder's decoder.
        images: sampled, decoded and scored.
        update_flops: of the network in the update, backward passes and recomputed activations included.
        update_calls: of the network in the update, each with or without its backward pass.
        elements: trained parameters times optimizer steps.
        reduced: of these, sent and received to sum gradients by a ring over the devices.
        held_mib: weights, gradients, optimizer, copies and stored latents.
        kept_mib: added by the update at its peak: decoded images and the activations of a micro-batch.
    """

    sample_flops: float
    sample_calls: float
    decode_flops: float
    images: float
    update_flops: float
    update_calls: float
    elements: float
    reduced: float
    held_mib: float
    kept_mib: float

    @property
    def flops(self) -> float:
        """FLOPs of all phases."""
        return self.sample_flops + self.decode_flops + self.update_flops

    def as_json(self) -> dict[str, float]:
        """The values by name, for JSON."""
        return asdict(self)


def count_work(config: RunConfig, model: ModelCost, devices: int = 1) -> Work:
    """The work of a round.

    Args:
        config: of the run.
        model: its model, counted.
        devices: number of devices that share the prompts of the round.
    """
    r, train = config.rollout, config.train
    images = -(-r.prompts // devices) * r.group_size
    update = get_algorithm(train.algorithm).update_work(config, images)
    together = -(-update.rows // train.updates)  # in an optimizer step
    elements = model.trainable * train.updates
    needed = memory(config, model, devices)
    guided = passes(r.guidance, model.distilled)
    update_rows = update.rows * (guided if update.guided else 1)
    return Work(
        sample_flops=sampled_rows(config, images) * guided * model.drawn.flops,
        # steered images are sampled in calls of their own
        sample_calls=r.steps * (-(-images // r.batch_size) + (r.steered > 0)),
        decode_flops=images * model.decoded.flops,
        images=images,
        update_flops=update_rows * (update.extra_passes * model.drawn.flops + model.learned.flops),
        update_calls=(1 + update.extra_passes) * train.updates * -(-together // train.micro_batch),
        elements=elements,
        reduced=elements * 2 * (devices - 1) / devices,
        held_mib=needed.held / MIB,
        kept_mib=needed.phases["learning"] / MIB,
    )


def steering_flops(config: RunConfig, model: ModelCost, prompts: Sequence[Prompt]) -> float:
    """FLOPs of computing the steering vectors, once in a run and in every process."""
    r = config.rollout
    if not r.steered:
        return 0.0
    policy = load_safety_policy(config.reward.anchors, config.reward.encoder)
    images = 2 * number_of_pairs(prompts, policy)
    return images * r.steps * passes(r.guidance, model.distilled) * model.drawn.flops


def sampled_rows(config: RunConfig, images: int) -> float:
    """Network rows of a round's sampling.

    The members of a branch share the steps before the window, so these count once per branch; on average
    half of the steps outside the window lie before it. Given pairs are not sampled.
    """
    r = config.rollout
    if config.train.dpo_pairs == "given":
        return 0.0
    opening = (r.steps - config.train.window) / 2 if r.branches else 0
    return images * (r.steps - opening + opening / config.branch_size)
