"""Bytes that a run needs on one device: what is held all the time, and what each phase adds to it."""

from __future__ import annotations

from dataclasses import dataclass

from safediffusion.config import RunConfig
from safediffusion.run.model_cost import ModelCost
from safediffusion.training.algorithms import get_algorithm
from safediffusion.training.algorithms.call_size import network_rows
from safediffusion.training.optimizer import MOMENTS

FLOAT = 4  # bytes; what is trained, its gradients, latents and images are float32
GIB = 2**30
CARDS_GB = (8, 12, 16, 24, 32, 40, 48, 80, 96, 141)  # of 10^9 bytes, as they are sold
SPARE = 0.1  # fragments, and what kernels need inside themselves
CONTEXT = GIB  # what CUDA takes itself
# float32 weights of the rewards' encoders that recipes name
ENCODERS = {"openai/clip-vit-large-patch14": 427_616_513, "hpsv2.1": 986_109_441}


@dataclass(frozen=True)
class Memory:
    """Of a run on one device, in bytes.

    Attributes:
        weights: of the model's parts; of the network alone while text encoders wait elsewhere.
        encoders: of the rewards, as far as their size is known.
        learned: gradients, moments and copies of what is trained; in pieces, with the network's pieces.
        latents: of a round's images.
        pixels: decoded images of a round.
        phases: by name, what comes on top at its peak.
    """

    weights: float
    encoders: float
    learned: float
    latents: float
    pixels: float
    phases: dict[str, float]

    @property
    def held(self) -> float:
        """What is there all the time."""
        return self.weights + self.encoders + self.learned + self.latents

    @property
    def fullest(self) -> str:
        """The phase with the highest peak."""
        return max(self.phases, key=lambda name: self.phases[name])

    @property
    def peak(self) -> float:
        """The most that a round needs."""
        return self.held + self.phases[self.fullest]

    @property
    def card(self) -> int | None:
        """GB of the smallest usual card, a tenth and CUDA's own share to spare; None: none is enough."""
        wanted = (self.peak * (1 + SPARE) + CONTEXT) / 1e9
        return next((size for size in CARDS_GB if size >= wanted), None)


def memory(config: RunConfig, model: ModelCost, processes: int = 1) -> Memory:
    """Memory of one of the processes of a run; see docs/scaling.md for what is not counted."""
    r = config.rollout
    images = -(-r.prompts // processes) * r.group_size
    algorithm = get_algorithm(config.train.algorithm)
    drawn, _, together = network_rows(algorithm, config, images, model.distilled)
    pixels = FLOAT * images * model.pixels
    offload = config.model.offload
    names = {one.encoder for one in (config.reward, *config.reward.also)}
    encoders = FLOAT * sum(ENCODERS.get(name, 0) for name in names)
    return Memory(
        weights=model.weights - (model.text if offload else 0),
        encoders=0 if offload else encoders,
        learned=_learned(config, model, processes),
        latents=FLOAT * algorithm.update_work(config, images).stored * images * model.latent,
        pixels=pixels,
        phases={
            **({"encoding": model.text, "scoring": pixels + encoders} if offload else {}),
            "drawing": model.drawn.peak(drawn),
            "decoding": 2 * pixels + model.decoded.peak(min(r.batch_size, images)),
            "learning": pixels + model.learned.peak(together),
        },
    )


def _learned(config: RunConfig, model: ModelCost, processes: int) -> float:
    """A gradient and two moments each, and copies.

    Pieces of the network are counted beside the whole of it, which sampling needs.
    """
    train = config.train
    old = get_algorithm(train.algorithm).keeps_old_copy(config)
    copies = old + (train.keeps_reference and train.lora_rank == 0) + (train.ema > 0)
    learned = (MOMENTS[train.optimizer] + FLOAT * (1 + copies)) * model.trainable
    if train.shard and processes > 1:
        learned = (learned + model.network) / processes
    return learned
