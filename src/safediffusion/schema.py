"""The schema of a run: every setting, its default, its bounds and what it is for."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

WORLD_TASKS = ("world-i2p", "world-exposed", "world-geneval", "world-benign")

Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ModelConfig(Section):
    path: str = Field(default="world", description="pipeline folder, hub id, or world (the embedded model)")
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="network precision, auto: bf16 where the device has it; latents and scheduler are fp32",
    )

    storage: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32",
        description="precision frozen weights are kept in; bf16 or fp16 halves them and needs LoRA",
    )
    vae: Literal["whole", "sliced", "tiled"] = Field(
        default="whole", description="decode a batch at once, image by image, or tile by tile: less memory"
    )
    tiny_vae: str | None = Field(
        default=None,
        description="folder or hub id of an AutoencoderTiny that decodes for the rewards, as long as it "
        "orders the pictures of a group as the full one does; null: the full one decodes",
    )
    offload: bool = Field(
        default=False,
        description="text encoders and those of the rewards wait in the computer's memory while not needed",
    )
    resolution: Count | None = Field(
        default=None, description="side of the images in pixels; null is what the model was made for"
    )


# Sources that stand for a mixture of others, by weight.
MIXTURES = {"world-mixed": {"world-explicit": 3, "world-implicit": 2, "world-benign": 3}}


class PromptSource(Section):
    path: str = Field(
        default="world",
        description="world, world-mixed (of every eight three prompts that name a harm, two that sound "
        "innocent and three benign), a part of world (world-benign, world-implicit, world-explicit, "
        "world-nudity), a .csv, .tsv, .jsonl, .json, .txt or .parquet file, or a dataset of the hub as "
        "owner/name",
    )
    column: str = Field(default="prompt", description="where the prompts stand in a file or dataset")
    subset: str | None = Field(default=None, description="configuration of a dataset that has several")
    split: str = Field(default="train", description="split of a dataset")
    label: Literal["benign", "unsafe"] | None = Field(
        default=None, description="what all its prompts are; null reads the column label"
    )
    category: str | None = Field(
        default=None, description="harm category of all its prompts; null reads the column category"
    )
    weight: Positive = Field(default=1.0, description="its share of every step's prompts, beside the others'")
    accept_sensitive: bool = Field(
        default=False, description="load a set that is known to ask for harmful pictures, such as I2P"
    )

    @property
    def parts(self) -> list[PromptSource]:
        """What a mixture stands for, or the source itself."""
        parts = MIXTURES.get(self.path, {self.path: 1})
        total = sum(parts.values())
        return [
            self.model_copy(update={"path": path, "weight": self.weight * share / total})
            for path, share in parts.items()
        ]


class PromptsConfig(PromptSource):
    also: list[PromptSource] = Field(
        default_factory=list, description="further sources, mixed into every step by their weights"
    )

    @property
    def sources(self) -> list[PromptSource]:
        """All sources, those of the main one first; mixtures in their parts."""
        return [part for source in (self, *self.also) for part in source.parts]

    @property
    def weights(self) -> list[float]:
        """Their weights."""
        return [source.weight for source in self.sources]


class OneRewardConfig(Section):
    kind: str = Field(
        default="steering", description="steering, clip, negative-clip, or a function as pkg.mod:fn"
    )
    name: str | None = Field(default=None, description="what it is logged under; null is its kind")
    weight: Positive = Field(default=1.0, description="its share in what is learned, beside the others'")
    encoder: str = Field(
        default="world", description="world, hpsv2.1, a CLIP or SigLIP folder or hub id, or a ViT-H/14 file"
    )
    anchors: str = Field(default="scaled", description="name of a safety policy, or a YAML file")
    alpha: NonNegative = Field(default=0.5, description="how far text is moved along the safety direction")
    mode: Literal["translate", "project"] = Field(default="translate", description="how text is moved")
    steer: Literal["always", "unsafe"] = Field(
        default="always", description="steer every prompt, or unsafe ones only"
    )
    threshold: float = Field(default=0.0, description="steer=unsafe: steered when z.v_safe is below this")
    views: Annotated[int, Field(ge=1, le=4)] = Field(
        default=1, description="slightly augmented views averaged per image; more is harder to fool"
    )
    batch_size: Count = Field(
        default=96, description="images an encoder pass; more is faster and needs more memory"
    )

    @property
    def label(self) -> str:
        """What it is logged under."""
        return self.name or self.kind


class RewardConfig(OneRewardConfig):
    also: list[OneRewardConfig] = Field(
        default_factory=list, description="further rewards, each compared in its group and then weighed"
    )

    @model_validator(mode="after")
    def _told_apart(self) -> RewardConfig:
        labels = [one.label for one in (self, *self.also)]
        if twice := next((label for label in labels if labels.count(label) > 1), None):
            raise ValueError(f"two rewards are called {twice}; give one of them a name: in reward.also")
        return self


class RolloutConfig(Section):
    steps: Count = Field(default=16, description="denoising steps")
    eta: Annotated[float, Field(ge=0, le=1)] = Field(
        default=1.0, description="0 deterministic, 1 DDPM's variance"
    )
    sde: Literal["cps", "flow-grpo"] = Field(
        default="cps", description="flow matching: coefficients-preserving sampling, or Flow-GRPO's SDE"
    )
    solver: Literal["ddim", "dpm++"] = Field(
        default="ddim",
        description="of deterministic steps, which are all but grpo's: ddim (Euler's in flow matching), or "
        "dpm++, of second order; on World it is nearer to the limit of many steps from 16 on, not below 10",
    )
    guidance: NonNegative = Field(default=3.0, description="classifier-free guidance of the policy; 1 is off")
    group_size: Annotated[int, Field(ge=2)] = Field(
        default=12, description="images a prompt, compared to each other"
    )
    prompts: Count = Field(default=8, description="prompts a step")
    considered: Count = Field(
        default=1,
        description="prompts considered for each that is drawn: those of each label are drawn whose rewards "
        "differed most when last seen; 1 draws all in turn",
    )
    branches: CountOrZero = Field(
        default=0,
        description="grpo with train.window: starting points a group; the members of one share its noise and "
        "the steps before the window, drawn once, and are compared with each other alone; 0: each its own",
    )
    neighbours: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="nft, awm: share of a group drawn with prompts nearer to the steered text, where there "
        "are any; it shows safe pictures to prompts that have none of their own",
    )
    batch_size: Count = Field(
        default=96, description="images a forward batch; more is faster and needs more memory"
    )


class TrainConfig(Section):
    algorithm: Literal["nft", "grpo", "awm"] = Field(
        default="nft", description="nft or awm (forward process), or grpo (the paper's)"
    )
    steps: Count = Field(default=60, description="rounds of sample, score, update")
    optimizer: Literal["adamw", "adamw8bit"] = Field(
        default="adamw",
        description="adamw, or adamw8bit: its moments in a quarter of the memory, with bitsandbytes on a GPU",
    )
    max_seconds: Positive | None = Field(
        default=None, description="end after this much training, evaluations not counted; null is no limit"
    )
    lr: Positive = Field(default=1e-4, description="AdamW's learning rate")
    lr_schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="how it falls to 0 from the first round to train.steps"
    )
    lora_rank: CountOrZero = Field(default=0, description="0 trains the whole network")
    clip_range: Positive = Field(
        default=1e-4, description="grpo, awm: PPO range; tiny as log-densities are means"
    )
    trust_region: Positive | None = Field(
        default=None,
        description="grpo: instead of the clip, an update ends where the policy is this KL from the sampler "
        "at that step and would go further; null is the clip",
    )
    adv_clip: Positive = Field(default=2.5, description="advantages are clipped to plus and minus this")
    adv_spread: Literal["group", "round"] = Field(
        default="group",
        description="advantages are scaled by the deviation of their own group, or of all groups",
    )
    kl: NonNegative = Field(default=0.0, description="weight of the distance to the reference model")
    kl_benign: NonNegative | None = Field(
        default=None, description="the same for prompts labelled benign; null is kl"
    )
    window: CountOrZero = Field(
        default=0, description="grpo: stochastic steps in a row; 0 makes all stochastic"
    )
    timestep_fraction: Fraction = Field(
        default=1.0,
        description="share of the steps that is trained; nft, awm: the noisiest share of all levels",
    )
    balance_steps: bool = Field(
        default=False,
        description="grpo: weight steps so that the network's output counts alike at all of them; without it "
        "the last wide step drowns the others",
    )
    updates: Count = Field(default=1, description="optimizer steps a round")
    micro_batch: Count = Field(
        default=96, description="samples a backward pass; gradients accumulate over the rest"
    )
    shard: bool = Field(
        default=False,
        description="with --nproc: each process keeps its part of the weights, gradients and moments (FSDP2)",
    )
    recompute: bool = Field(
        default=False, description="gradient checkpointing: a third slower, far less memory a sample"
    )
    compile: bool = Field(
        default=False,
        description="torch.compile: faster rounds after minutes of compiling, which a second run finds done; "
        "without a compiler training goes on as before",
    )
    channels_last: bool = Field(
        default=False,
        description="weights of convolutions are kept with their channels last, as half precision on a GPU "
        "has them; on a CPU it makes little difference",
    )
    grad_norm: Positive = Field(default=1.0, description="gradients are clipped to this norm")
    weight_decay: NonNegative = Field(default=1e-4, description="AdamW's weight decay")
    ema: Decay = Field(default=0.0, description="decay of the averaged weights that are kept; 0 is off")
    cfg_update: bool = Field(
        default=True, description="grpo: the policy whose density is taken is the guided one"
    )
    old_decay_max: Decay = Field(default=0.9, description="nft: largest decay of the old copy")
    old_decay_step: NonNegative = Field(default=0.02, description="nft: how much that decay rises a round")
    checkpoint_every: Count = Field(default=10, description="rounds between checkpoints")
    keep_checkpoints: Count = Field(default=2, description="how many checkpoints are kept")
    keep_best: str | None = Field(
        default=None,
        description="metric whose highest (with a minus before it, lowest) checkpoint is kept and becomes "
        "the model: a field of metrics.jsonl, or TASK/METRIC of the small evaluations",
    )
    export_dtype: Literal["fp32", "fp16"] = Field(
        default="fp32",
        description="precision of the trained network in model/; fp16 halves the file and "
        "loses a part of a merged adapter; other parts keep the base's precision",
    )
    sample_every: Count = Field(default=10, description="rounds between sample pictures")
    stop_on_collapse: bool = Field(default=False, description="end the run when the collapse alarm fires")

    def lr_at(self, step: int) -> float:
        """Learning rate of the round after `step` rounds."""
        share = step / self.steps
        falling = {"constant": 1.0, "linear": 1 - share, "cosine": (1 + math.cos(math.pi * share)) / 2}
        return self.lr * falling[self.lr_schedule]

    def kl_of(self, label: str | None) -> float:
        """Weight of the distance to the reference for a prompt with this label."""
        return self.kl if label != "benign" or self.kl_benign is None else self.kl_benign

    @property
    def keeps_reference(self) -> bool:
        """Whether the model before training is asked during training."""
        return self.kl > 0 or bool(self.kl_benign)


class EvaluateConfig(Section):
    tasks: list[str] = Field(
        default_factory=lambda: list(WORLD_TASKS), description="tasks of the evaluation before and after"
    )
    n: Count | None = Field(default=None, description="images a task at most; null is each task's own size")
    during_every: CountOrZero = Field(default=0, description="rounds between small evaluations; 0 is none")
    during_n: Count = Field(default=64, description="images a task in those")
    steps: Count = Field(default=16, description="denoising steps")
    guidance: NonNegative = Field(default=3.0, description="classifier-free guidance")
    eta: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="0 deterministic, 1 DDPM's variance"
    )
    show_unsafe: bool = Field(
        default=False,
        description="sample sheets show pictures of prompts that are not labelled benign; else these are "
        "pixelated and blurred, but for World's pictograms",
    )
    seed: CountOrZero = Field(default=1234, description="seed of prompts and noise")


class RunConfig(Section):
    """Everything that decides the result of a run; where it is written is not part of it."""

    recipe: str = Field(default="world", description="name of the recipe or file this came from")
    seed: CountOrZero = Field(default=0, description="seed of prompts, noise and adapters")
    watch: list[Literal["tensorboard", "wandb", "trackio"]] = Field(
        default_factory=list, description="where metrics are shown besides metrics.jsonl"
    )
    model: ModelConfig = ModelConfig()
    prompts: PromptsConfig = PromptsConfig()
    reward: RewardConfig = RewardConfig()
    rollout: RolloutConfig = RolloutConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @property
    def keeps_old_copy(self) -> bool:
        """Whether the weights of an older policy are kept beside those in training."""
        train = self.train
        return train.algorithm == "nft" or (train.algorithm == "awm" and train.updates > 1)

    @property
    def branch_size(self) -> int:
        """Members of a group that share a starting point."""
        return self.rollout.group_size // self.rollout.branches if self.rollout.branches else 1

    @property
    def compared(self) -> int:
        """Images that are compared with each other: a group, or a branch of one."""
        return self.branch_size if self.rollout.branches else self.rollout.group_size

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        if self.train.algorithm == "grpo" and self.rollout.eta == 0:
            raise ValueError(
                "rollout.eta is 0, but grpo needs a stochastic sampler; "
                "set rollout.eta=1 or train.algorithm=nft"
            )
        branches, size = self.rollout.branches, self.rollout.group_size
        if branches and (self.train.algorithm != "grpo" or not self.train.window):
            raise ValueError(
                "rollout.branches shares the steps before grpo's window; set train.algorithm=grpo and "
                "train.window=2, or rollout.branches=0"
            )
        if branches and (size % branches or size // branches < 2):
            raise ValueError(
                f"rollout.branches is {branches}, which does not deal {size} images into equal branches of "
                "two or more; set it to a divisor of rollout.group_size, at most half of it"
            )
        images = self.rollout.prompts * size
        if self.train.algorithm == "grpo" and self.train.updates > images:
            raise ValueError(
                f"train.updates is {self.train.updates}, but the {images} images of a round make {images} "
                f"optimizer steps at most; set train.updates={images} or less, or raise rollout.prompts"
            )
        if self.train.compile and (self.train.shard or self.train.recompute):
            raise ValueError(
                "train.compile takes a network that is whole and keeps its activations; set "
                "train.compile=false, or train.shard=false and train.recompute=false"
            )
        storage, dtype = self.model.storage, self.model.dtype
        if storage != "fp32" and (self.train.lora_rank == 0 or dtype not in ("auto", storage)):
            raise ValueError(
                f"model.storage={storage} keeps frozen weights only in {storage}, so it needs an adapter and "
                f"a network in {storage}; set train.lora_rank=16 and model.dtype=auto, or model.storage=fp32"
            )
        every = self.evaluate.during_every
        if "/" in (self.train.keep_best or "") and (every == 0 or every % self.train.checkpoint_every):
            raise ValueError(
                f"train.keep_best={self.train.keep_best} is of the small evaluations, which have to be at "
                f"checkpoints; set evaluate.during_every to {self.train.checkpoint_every} or a multiple"
            )
        if self.train.window > self.rollout.steps:
            raise ValueError(
                f"train.window is {self.train.window}, more than rollout.steps ({self.rollout.steps}); "
                "set train.window lower or 0"
            )
        return self
