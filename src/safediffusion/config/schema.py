"""The schema of a run: every setting, its default, its bounds and what it is for."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from safediffusion.config.combinations import contradictions
from safediffusion.config.inputs import ModelConfig, PromptsConfig, Section
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


# Choices that the code below the schema switches on too.
Solver = Literal["ddim", "dpm++"]
Sde = Literal["cps", "flow-grpo"]
Spread = Literal["group", "round"]


class OneRewardConfig(Section):
    """One reward."""

    kind: Text = Field(
        default="steering",
        description="steering, clip, negative-clip, your own as pkg.mod:NAME, or a server's as http://...",
    )
    options: Options = Field(
        default_factory=dict,
        description="what a factory of your own, pkg.mod:NAME, receives besides the device; plain values. "
        "A server's reward has timeout (seconds) and retries",
    )
    name: Text | None = Field(default=None, description="name in logs; null is its kind")
    weight: Positive = Field(default=1.0, description="weight of its advantages, relative to other rewards")
    encoder: Place = Field(
        default="world",
        description="world, hpsv2.1, folder or hub id of a CLIP or SigLIP, or a ViT-H/14 file",
    )
    anchors: Place = Field(default="scaled", description="name of a safety policy, or a YAML file")
    alpha: Alpha = Field(
        default=0.5, description="length by which a text embedding is moved along the safety direction"
    )
    mode: SteeringMode = Field(default="translate", description="how a text embedding is moved")
    steer: Steered = Field(default="always", description="steer every prompt, or unsafe ones only")
    threshold: Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)] | None = Field(
        default=None,
        description="steer=unsafe: a prompt is steered when z.v_safe is below this; null: what best parts "
        "the run's benign prompts from its unsafe ones, 0 where prompts have no labels",
    )
    views: Annotated[int, Field(ge=1, le=4)] = Field(
        default=1, description="slightly augmented views per image, averaged; more views are harder to fool"
    )
    batch_size: Images = Field(
        default=96, description="images per encoder pass; more is faster and needs more memory"
    )

    @property
    def label(self) -> str:
        """The name of the reward in logs."""
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
    """All rewards of a run: the main one and further ones."""

    also: list[OneRewardConfig] = Field(
        default_factory=list,
        max_length=100,
        description="further rewards; the advantages of all are computed per group and summed by weight",
    )

    @model_validator(mode="after")
    def _told_apart(self) -> RewardConfig:
        labels = [one.label for one in (self, *self.also)]
        if twice := next((label for label in labels if labels.count(label) > 1), None):
            raise ValueError(f"two rewards are called {twice}; give one of them a name: in reward.also")
        return self


class RolloutConfig(Section):
    """How the images of a round are sampled."""

    steps: Denoising = Field(default=16, description="denoising steps")
    eta: Share = Field(default=1.0, description="0 deterministic, 1 DDPM's variance")
    sde: Sde = Field(
        default="cps", description="flow matching: coefficients-preserving sampling, or Flow-GRPO's SDE"
    )
    solver: Solver = Field(
        default="ddim",
        description="solver of deterministic steps (all but grpo's inside its window): "
        "ddim, which is Euler's method in flow matching, or the second-order dpm++. On World dpm++ is more "
        "exact from 16 steps on, and less exact below 10",
    )
    guidance: Guidance = Field(default=3.0, description="classifier-free guidance of the policy; 1 is off")
    group_size: GroupSize = Field(
        default=12, description="images per prompt, which are compared with each other"
    )
    prompts: Images = Field(default=8, description="prompts per round")
    considered: Images = Field(
        default=1,
        description="candidates per prompt of a round. Of each label, the candidates are used whose rewards "
        "differed most when they were last sampled; 1 uses all prompts in turn",
    )
    branches: ImagesOrZero = Field(
        default=0,
        description="grpo with train.window: starting noises per group. Members with the same one share the "
        "steps before the window, sampled once, and are compared with each other only; 0: one per member",
    )
    neighbours: Decay = Field(
        default=0.0,
        description="all but grpo: share of a group that is sampled with prompts nearer to the steered text, "
        "where there are any; a prompt whose own images are all unsafe learns from theirs",
    )
    steered: Decay = Field(
        default=0.0,
        description="all but grpo: share of the group of a prompt labelled unsafe that is sampled with "
        "activation steering: the model's cross-attention is turned away from what unsafe prompts have in "
        "common. Needs reward.kind=steering and a network with cross-attention",
    )
    steering_strength: Alpha = Field(
        default=2.0,
        description="strength of that steering: 1 removes the unsafe part of a feature, 2 mirrors it",
    )
    batch_size: Images = Field(
        default=96, description="images per forward batch; more is faster and needs more memory"
    )


class TrainConfig(Section):
    """How the network learns from a round."""

    algorithm: Text = Field(
        default="nft",
        description="grpo (the paper's), nft, awm, pepg, dpo, rwr or sft (forward process), or your own as "
        "pkg.mod:Class",
    )
    steps: Steps = Field(default=60, description="rounds: sample, score, update")
    optimizer: Literal["adamw", "adamw8bit"] = Field(
        default="adamw",
        description="adamw, or adamw8bit, whose moments take a quarter of the memory (bitsandbytes, GPU "
        "only)",
    )
    max_seconds: Positive | None = Field(
        default=None,
        description="end after this many seconds of training, without evaluations; null: no limit",
    )
    lr: Rate = Field(default=1e-4, description="AdamW's learning rate")
    lr_schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="how the rate falls to 0 from the first round to the last"
    )
    lora_rank: Rank = Field(default=0, description="rank of the adapter; 0 trains the whole network")
    lora_targets: Distinct[Text] = Field(
        default_factory=list,
        description="ends of the names of the attention layers that get an adapter, such as attn2.to_k, by "
        "which a UNet reads the prompt; []: all",
    )
    clip_range: Positive = Field(
        default=1e-4, description="grpo, awm: range of PPO's clip; tiny, because log-densities are means"
    )
    trust_region: Positive | None = Field(
        default=None,
        description="grpo: instead of the clip, drop the gradient of rows whose policy has this KL from the "
        "one that sampled and would move further away; null: use the clip",
    )
    adv_clip: Positive = Field(default=2.5, description="largest absolute advantage")
    adv_spread: Spread = Field(
        default="group",
        description="divide advantages by the deviation of their own group, or of all groups of the round",
    )
    kl: NonNegative = Field(default=0.0, description="weight of the distance to the reference model")
    kl_benign: NonNegative | None = Field(
        default=None, description="the same weight for prompts labelled benign; null is kl"
    )
    kl_kinds: Distinct[Text] = Field(
        default_factory=list,
        description="kinds of benign prompts that kl_benign is for, by the column kind, such as World's "
        "composition; other prompts have kl. []: all benign prompts",
    )
    window: DenoisingOrZero = Field(
        default=0, description="grpo: number of consecutive stochastic denoising steps; 0: all are stochastic"
    )
    timestep_fraction: Fraction = Field(
        default=1.0,
        description="grpo: share of the stochastic denoising steps that is trained; others: train on the "
        "noisiest share of the noise levels",
    )
    balance_steps: bool = Field(
        default=False,
        description="grpo: weight denoising steps so that all have gradients of equal size; otherwise the "
        "last wide step dominates",
    )
    updates: Images = Field(default=1, description="optimizer steps per round")
    micro_batch: Images = Field(
        default=96, description="rows per backward pass; gradients are accumulated over the others"
    )
    shard: bool = Field(
        default=False,
        description="with --nproc: shard weights, gradients and moments over the processes (FSDP2)",
    )
    recompute: bool = Field(
        default=False, description="gradient checkpointing: a third slower, far less memory per row"
    )
    compile: bool = Field(
        default=False,
        description="torch.compile: faster rounds after minutes of compiling, which are cached for the next "
        "run. Without a compiler training goes on uncompiled",
    )
    channels_last: bool = Field(
        default=False,
        description="keep convolution weights in channels-last layout, which half precision on a GPU is "
        "faster with; on a CPU it makes little difference",
    )
    grad_norm: Positive = Field(
        default=1.0, description="largest norm of the gradient; longer ones are clipped"
    )
    weight_decay: NonNegative = Field(default=1e-4, description="AdamW's weight decay")
    ema: Decay = Field(
        default=0.0, description="decay of the averaged weights that are evaluated and exported; 0 is off"
    )
    cfg_update: bool = Field(
        default=True,
        description="grpo: use the density of the guided policy; false uses that of the unguided one",
    )
    nft_beta: Positive = Field(
        default=1.0, description="nft: below 1, the same preference asks for a larger change of the old copy"
    )
    old_decay_max: Decay = Field(default=0.9, description="nft, pepg: largest decay of the old copy")
    old_decay_step: NonNegative = Field(default=0.02, description="nft, pepg: rise of that decay per round")
    proximal: NonNegative = Field(
        default=10.0, description="pepg: weight of the KL to the old copy, which samples the images"
    )
    dpo_beta: Positive = Field(
        default=5000.0,
        description="dpo: weight of the reference model; the higher, the sooner a pair that is told apart "
        "has no more gradient",
    )
    dpo_pairs: Literal["sampled", "given"] = Field(
        default="sampled",
        description="dpo: sampled (the best and the worst image of a group by the reward) or given (columns "
        "`chosen` and `rejected` of the prompts' file name the images of a pair)",
    )
    rwr_temperature: Positive = Field(
        default=1.0, description="rwr: advantage by which an image's weight grows e-fold"
    )
    checkpoint_every: Steps = Field(default=10, description="rounds between checkpoints")
    keep_checkpoints: Steps = Field(default=2, description="number of checkpoints that are kept")
    keep_best: Text | None = Field(
        default=None,
        description="metric by which the best checkpoint is chosen, kept and exported: a field of "
        "metrics.jsonl, or TASK/METRIC of the small evaluations. The highest value is best; with a minus, "
        "the lowest",
    )
    export_dtype: Literal["fp32", "fp16"] = Field(
        default="fp32",
        description="precision of the trained network in model/. fp16 halves the file and rounds away a "
        "part of a merged adapter. Other parts keep the base's precision",
    )
    sample_every: Steps = Field(default=10, description="rounds between sample sheets")
    stop_on_collapse: bool = Field(default=False, description="end the run when the collapse alarm fires")

    def lr_at(self, step: int) -> float:
        """Learning rate of the round after `step` rounds."""
        share = step / self.steps
        falling = {"constant": 1.0, "linear": 1 - share, "cosine": (1 + math.cos(math.pi * share)) / 2}
        return self.lr * falling[self.lr_schedule]

    def kl_of(self, label: str | None, kind: str | None = None) -> float:
        """Weight of the distance to the reference for a prompt with this label and of this kind."""
        held = label == "benign" and (not self.kl_kinds or kind in self.kl_kinds)
        return self.kl_benign if held and self.kl_benign is not None else self.kl

    @property
    def keeps_reference(self) -> bool:
        """Whether the update compares with the reference model."""
        return self.kl > 0 or bool(self.kl_benign)


class EvaluateConfig(Section):
    """How a model is evaluated before, during and after training."""

    tasks: Distinct[Text] = Field(
        default_factory=lambda: list(WORLD_TASKS), description="tasks of the evaluation before and after"
    )
    n: Steps | None = Field(default=None, description="images per task at most; null is each task's own size")
    during_every: StepsOrZero = Field(default=0, description="rounds between small evaluations; 0: none")
    during_n: Steps = Field(default=64, description="images per task of a small evaluation")
    steps: Denoising = Field(default=16, description="denoising steps")
    guidance: Guidance = Field(default=3.0, description="classifier-free guidance")
    eta: Share = Field(default=0.0, description="0 deterministic, 1 DDPM's variance")
    show_unsafe: bool = Field(
        default=False,
        description="show images of prompts that are not labelled benign on sample sheets; else they are "
        "pixelated and blurred, except World's pictograms",
    )
    seed: Seed = Field(default=1234, description="seed of prompts and noise")


class RunConfig(Section):
    """All settings that decide the result of a run; the folder that it is written to is not one of them.

    Examples:
        >>> from safediffusion import RunConfig
        >>> config = RunConfig(seed=3)
        >>> config.seed, config.train.algorithm
        (3, 'nft')
    """

    recipe: FileName = Field(default="world", description="name of the recipe or file this came from")
    seed: Seed = Field(default=0, description="seed of prompts, noise and adapters")
    watch: Distinct[Literal["tensorboard", "wandb", "trackio"]] = Field(
        default_factory=list, description="trackers that show the metrics, besides metrics.jsonl"
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
