"""Bytes that a run needs on one device: what is held all the time, and what each phase adds to it."""

from __future__ import annotations

from dataclasses import dataclass

from safediffusion.config import RunConfig
from safediffusion.run.model_cost import ModelCost
from safediffusion.training.algorithms import get_algorithm
from safediffusion.training.algorithms.call_size import network_rows
from safediffusion.training.optimizer import MOMENTS

FLOAT = 4  # bytes; trained weights, gradients, latents and images are float32
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
GIB, GB = 2**30, 10**9
CARDS_GB = (8, 12, 16, 24, 32, 40, 48, 80, 96, 141)  # as cards are sold
SPARE = 0.1  # fragmentation, and workspace of kernels
CONTEXT = GIB  # taken by CUDA itself
# number of weights of the reward encoders that recipes name
ENCODERS = {"openai/clip-vit-large-patch14": 427_616_513, "hpsv2.1": 986_109_441}


@dataclass(frozen=True)
class Memory:
    """Memory of a run on one device, in bytes.

    Attributes:
        weights: of the model's parts; without the text encoders where these are offloaded.
        encoders: of the rewards, as far as their size is known.
        learned: gradients, moments and copies of the trained weights; if sharded, with the network's shard.
        latents: of a round's images.
        pixels: decoded images of a round.
        phases: by name, the memory that comes on top at the peak of a phase.
    """

    weights: float
    encoders: float
    learned: float
    latents: float
    pixels: float
    phases: dict[str, float]

    @property
    def held(self) -> float:
        """The memory that is held all the time."""
        return self.weights + self.encoders + self.learned + self.latents

    @property
    def fullest(self) -> str:
        """The phase with the highest peak."""
        return max(self.phases, key=lambda name: self.phases[name])

    @property
    def peak(self) -> float:
        """The most that a round needs."""
        return self.held + self.phases[self.fullest]

    def fits(self, card: float) -> bool:
        """Whether a card of this many bytes suffices, with a tenth and CUDA's own share spare."""
        return self.peak * (1 + SPARE) + CONTEXT <= card

    @property
    def card(self) -> int | None:
        """GB of the smallest common card that suffices, or None."""
        return next((size for size in CARDS_GB if self.fits(size * GB)), None)


def memory(config: RunConfig, model: ModelCost, processes: int = 1) -> Memory:
    """Memory of one process of a run; docs/scaling.md lists what is not counted."""
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


def disk(config: RunConfig, model: ModelCost) -> float:
    """Bytes of a run folder at its fullest: checkpoints, the one being written, and the exported model.

    A checkpoint holds the trained weights where memory holds their gradient. Images are not counted.
    """
    train = config.train
    checkpoints = train.keep_checkpoints + 1 + (train.keep_best is not None)
    network = model.network / BYTES[config.model.storage] * BYTES[train.export_dtype]
    adapter = FLOAT * model.trainable if train.lora_rank else 0  # in model/lora, beside the merged weights
    return checkpoints * _learned(config, model, 1) + model.weights - model.network + network + adapter


def _learned(config: RunConfig, model: ModelCost, processes: int) -> float:
    """Bytes of the gradient and two moments per trained weight, and of copies.

    The shard of the network is counted beside the gathered network, which sampling needs.
    """
    train = config.train
    old = get_algorithm(train.algorithm).keeps_old_copy(config)
    copies = old + (train.keeps_reference and train.lora_rank == 0) + (train.ema > 0)
    learned = (MOMENTS[train.optimizer] + FLOAT * (1 + copies)) * model.trainable
    if train.shard and processes > 1:
        learned = (learned + model.network) / processes
    return learned
