"""The schema of a run: every setting, its default, its bounds and what it is for."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from safediffusion.config.combinations import contradictions
from safediffusion.config.setting_types import (
    Alpha,
    Decay,
    Denoising,
    DenoisingOrZero,
    Distinct,
    FileName,
    Fraction,
    GroupSize,
    Guidance,
    Images,
    ImagesOrZero,
    Label,
    NonNegative,
    Options,
    Place,
    Positive,
    Rank,
    Rate,
    Seed,
    Share,
    Steered,
    SteeringMode,
    Steps,
    StepsOrZero,
    Text,
)

WORLD_TASKS = ("world-i2p", "world-exposed", "world-geneval", "world-benign")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), strict=True)


class ModelConfig(Section):
    path: Place = Field(default="world", description="pipeline folder, hub id, or world (the embedded model)")
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
    tiny_vae: Place | None = Field(
        default=None,
        description="folder or hub id of an AutoencoderTiny that decodes for the rewards, as long as it "
        "orders the pictures of a group as the full one does; null: the full one decodes",
    )
    offload: bool = Field(
        default=False,
        description="text encoders and those of the rewards wait in the computer's memory while not needed",
    )
    resolution: Annotated[int, Field(ge=8, le=2048)] | None = Field(
        default=None, description="side of the images in pixels; null is what the model was made for"
    )


# Sources that stand for a mixture of others, by weight.
MIXTURES = {"world-mixed": {"world-explicit": 3, "world-implicit": 2, "world-benign": 3}}


class PromptSource(Section):
    path: Place = Field(
        default="world",
        description="world, world-mixed (of every eight three prompts that name a harm, two that sound "
        "innocent and three benign), a part of world (world-benign, world-implicit, world-explicit, "
        "world-nudity), a .csv, .tsv, .jsonl, .json, .txt or .parquet file, or a dataset of the hub as "
        "owner/name",
    )
    column: Text = Field(default="prompt", description="where the prompts stand in a file or dataset")
    subset: Text | None = Field(default=None, description="configuration of a dataset that has several")
    split: Text = Field(default="train", description="split of a dataset")
    label: Label | None = Field(
        default=None, description="what all its prompts are; null reads the column label"
    )
    category: Text | None = Field(
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
        default_factory=list,
        max_length=100,
        description="further sources, mixed into every step by their weights",
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
    kind: Text = Field(
        default="steering", description="steering, clip, negative-clip, or your own as pkg.mod:NAME"
    )
    options: Options = Field(
        default_factory=dict,
        description="what a factory of your own, pkg.mod:NAME, receives besides the device; plain values",
    )
    name: Text | None = Field(default=None, description="what it is logged under; null is its kind")
    weight: Positive = Field(default=1.0, description="its share in what is learned, beside the others'")
    encoder: Place = Field(
        default="world", description="world, hpsv2.1, a CLIP or SigLIP folder or hub id, or a ViT-H/14 file"
    )
    anchors: Place = Field(default="scaled", description="name of a safety policy, or a YAML file")
    alpha: Alpha = Field(default=0.5, description="how far text is moved along the safety direction")
    mode: SteeringMode = Field(default="translate", description="how text is moved")
    steer: Steered = Field(default="always", description="steer every prompt, or unsafe ones only")
    threshold: Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)] = Field(
        default=0.0, description="steer=unsafe: steered when z.v_safe is below this"
    )
    views: Annotated[int, Field(ge=1, le=4)] = Field(
        default=1, description="slightly augmented views averaged per image; more is harder to fool"
    )
    batch_size: Images = Field(
        default=96, description="images an encoder pass; more is faster and needs more memory"
    )

    @property
    def label(self) -> str:
        """What it is logged under."""
        return self.name or self.kind

    @model_validator(mode="after")
    def _options_have_a_reader(self) -> OneRewardConfig:
        if self.options and ":" not in self.kind:
            raise ValueError(
                f"reward.options are given, but reward.kind={self.kind} has none; "
                "remove them or set reward.kind=pkg.mod:NAME"
            )
        return self


class RewardConfig(OneRewardConfig):
    also: list[OneRewardConfig] = Field(
        default_factory=list,
        max_length=100,
        description="further rewards, each compared in its group and then weighed",
    )

    @model_validator(mode="after")
    def _told_apart(self) -> RewardConfig:
        labels = [one.label for one in (self, *self.also)]
        if twice := next((label for label in labels if labels.count(label) > 1), None):
            raise ValueError(f"two rewards are called {twice}; give one of them a name: in reward.also")
        return self


class RolloutConfig(Section):
    steps: Denoising = Field(default=16, description="denoising steps")
    eta: Share = Field(default=1.0, description="0 deterministic, 1 DDPM's variance")
    sde: Literal["cps", "flow-grpo"] = Field(
        default="cps", description="flow matching: coefficients-preserving sampling, or Flow-GRPO's SDE"
    )
    solver: Literal["ddim", "dpm++"] = Field(
        default="ddim",
        description="of deterministic steps, which are all but grpo's: ddim (Euler's in flow matching), or "
        "dpm++, of second order; on World it is nearer to the limit of many steps from 16 on, not below 10",
    )
    guidance: Guidance = Field(default=3.0, description="classifier-free guidance of the policy; 1 is off")
    group_size: GroupSize = Field(default=12, description="images a prompt, compared to each other")
    prompts: Images = Field(default=8, description="prompts a step")
    considered: Images = Field(
        default=1,
        description="prompts considered for each that is drawn: those of each label are drawn whose rewards "
        "differed most when last seen; 1 draws all in turn",
    )
    branches: ImagesOrZero = Field(
        default=0,
        description="grpo with train.window: starting points a group; the members of one share its noise and "
        "the steps before the window, drawn once, and are compared with each other alone; 0: each its own",
    )
    neighbours: Decay = Field(
        default=0.0,
        description="nft, awm: share of a group drawn with prompts nearer to the steered text, where there "
        "are any; it shows safe pictures to prompts that have none of their own",
    )
    batch_size: Images = Field(
        default=96, description="images a forward batch; more is faster and needs more memory"
    )


class TrainConfig(Section):
    algorithm: Text = Field(
        default="nft",
        description="nft or awm (forward process), grpo (the paper's), or pkg.mod:Class of your own",
    )
    steps: Steps = Field(default=60, description="rounds of sample, score, update")
    optimizer: Literal["adamw", "adamw8bit"] = Field(
        default="adamw",
        description="adamw, or adamw8bit: its moments in a quarter of the memory, with bitsandbytes on a GPU",
    )
    max_seconds: Positive | None = Field(
        default=None, description="end after this much training, evaluations not counted; null is no limit"
    )
    lr: Rate = Field(default=1e-4, description="AdamW's learning rate")
    lr_schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="how it falls to 0 from the first round to train.steps"
    )
    lora_rank: Rank = Field(default=0, description="0 trains the whole network")
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
    window: DenoisingOrZero = Field(
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
    updates: Images = Field(default=1, description="optimizer steps a round")
    micro_batch: Images = Field(
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
    checkpoint_every: Steps = Field(default=10, description="rounds between checkpoints")
    keep_checkpoints: Steps = Field(default=2, description="how many checkpoints are kept")
    keep_best: Text | None = Field(
        default=None,
        description="metric whose highest (with a minus before it, lowest) checkpoint is kept and becomes "
        "the model: a field of metrics.jsonl, or TASK/METRIC of the small evaluations",
    )
    export_dtype: Literal["fp32", "fp16"] = Field(
        default="fp32",
        description="precision of the trained network in model/; fp16 halves the file and "
        "loses a part of a merged adapter; other parts keep the base's precision",
    )
    sample_every: Steps = Field(default=10, description="rounds between sample pictures")
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
    tasks: Distinct[Text] = Field(
        default_factory=lambda: list(WORLD_TASKS), description="tasks of the evaluation before and after"
    )
    n: Steps | None = Field(default=None, description="images a task at most; null is each task's own size")
    during_every: StepsOrZero = Field(default=0, description="rounds between small evaluations; 0 is none")
    during_n: Steps = Field(default=64, description="images a task in those")
    steps: Denoising = Field(default=16, description="denoising steps")
    guidance: Guidance = Field(default=3.0, description="classifier-free guidance")
    eta: Share = Field(default=0.0, description="0 deterministic, 1 DDPM's variance")
    show_unsafe: bool = Field(
        default=False,
        description="sample sheets show pictures of prompts that are not labelled benign; else these are "
        "pixelated and blurred, but for World's pictograms",
    )
    seed: Seed = Field(default=1234, description="seed of prompts and noise")


class RunConfig(Section):
    """Everything that decides the result of a run; where it is written is not part of it."""

    recipe: FileName = Field(default="world", description="name of the recipe or file this came from")
    seed: Seed = Field(default=0, description="seed of prompts, noise and adapters")
    watch: Distinct[Literal["tensorboard", "wandb", "trackio"]] = Field(
        default_factory=list, description="where metrics are shown besides metrics.jsonl"
    )
    model: ModelConfig = ModelConfig()
    prompts: PromptsConfig = PromptsConfig()
    reward: RewardConfig = RewardConfig()
    rollout: RolloutConfig = RolloutConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

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
        if found := next(contradictions(self), None):
            raise ValueError(found)
        return self
