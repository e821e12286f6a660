"""The schema of a run, and how a recipe, a file and key=value words become one.

Layers, later ones win: schema defaults, the recipe a file extends, the file, key=value.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from yaml import YAMLError

from .errors import UserError

RECIPES = Path(__file__).parent / "recipes"
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
    path: str = Field("world", description="pipeline folder, hub id, or world (the embedded model)")
    dtype: Literal["fp32", "bf16"] = Field(
        "fp32", description="network precision; latents and scheduler are always fp32"
    )


class PromptsConfig(Section):
    path: str = Field("world", description="world, world-nudity, or a .txt, .csv or .jsonl file of prompts")


class RewardConfig(Section):
    kind: str = Field("steering", description="steering, clip, negative-clip, or a function as pkg.mod:fn")
    encoder: str = Field("world", description="CLIP folder, hub id, or world")
    anchors: str = Field("scaled", description="name of a safety policy, or a YAML file")
    alpha: NonNegative = Field(0.5, description="how far text is moved along the safety direction")
    mode: Literal["translate", "project"] = Field("translate", description="how text is moved")
    steer: Literal["always", "unsafe"] = Field(
        "always", description="steer every prompt, or unsafe ones only"
    )
    threshold: float = Field(0.0, description="steer=unsafe: steered when z.v_safe is below this")
    views: Count = Field(1, description="slightly augmented views averaged per image; more is harder to fool")


class RolloutConfig(Section):
    steps: Count = Field(16, description="denoising steps")
    eta: Annotated[float, Field(ge=0, le=1)] = Field(1.0, description="0 deterministic, 1 DDPM's variance")
    guidance: NonNegative = Field(3.0, description="classifier-free guidance of the policy; 1 is off")
    group_size: Annotated[int, Field(ge=2)] = Field(12, description="images a prompt, compared to each other")
    prompts: Count = Field(8, description="prompts a step")
    batch_size: Count = Field(96, description="images a forward batch; more is faster and needs more memory")


class TrainConfig(Section):
    algorithm: Literal["nft", "grpo"] = Field(
        "nft", description="nft (forward process) or grpo (the paper's)"
    )
    steps: Count = Field(60, description="rounds of sample, score, update")
    lr: Positive = Field(1e-4, description="AdamW's learning rate")
    lora_rank: CountOrZero = Field(0, description="0 trains the whole network")
    clip_range: Positive = Field(1e-4, description="grpo: PPO range; tiny as log-densities are means")
    adv_clip: Positive = Field(2.5, description="advantages are clipped to plus and minus this")
    kl: NonNegative = Field(0.0, description="weight of the distance to the reference model")
    window: CountOrZero = Field(0, description="grpo: stochastic steps in a row; 0 makes all stochastic")
    timestep_fraction: Fraction = Field(1.0, description="share of the denoising steps that is trained")
    updates: Count = Field(1, description="optimizer steps a round")
    micro_batch: Count = Field(96, description="samples a backward pass; gradients accumulate over the rest")
    grad_norm: Positive = Field(1.0, description="gradients are clipped to this norm")
    weight_decay: NonNegative = Field(1e-4, description="AdamW's weight decay")
    ema: Decay = Field(0.0, description="decay of the averaged weights that are kept; 0 is off")
    cfg_update: bool = Field(True, description="grpo: the policy whose density is taken is the guided one")
    old_decay_max: Decay = Field(0.9, description="nft: largest decay of the old copy")
    old_decay_step: NonNegative = Field(0.02, description="nft: how much that decay rises a round")
    checkpoint_every: Count = Field(10, description="rounds between checkpoints")
    keep_checkpoints: Count = Field(2, description="how many checkpoints are kept")
    sample_every: Count = Field(10, description="rounds between sample pictures")
    stop_on_collapse: bool = Field(False, description="end the run when the collapse alarm fires")


class EvaluateConfig(Section):
    tasks: list[str] = Field(list(WORLD_TASKS), description="tasks of the evaluation before and after")
    n: Count | None = Field(None, description="images a task at most; null is each task's own size")
    during_every: CountOrZero = Field(0, description="rounds between small evaluations; 0 is none")
    during_n: Count = Field(64, description="images a task in those")
    steps: Count = Field(16, description="denoising steps")
    guidance: NonNegative = Field(3.0, description="classifier-free guidance")
    eta: Annotated[float, Field(ge=0, le=1)] = Field(0.0, description="0 deterministic, 1 DDPM's variance")
    seed: CountOrZero = Field(1234, description="seed of prompts and noise")


class RunConfig(Section):
    """Everything that decides the result of a run; where it is written is not part of it."""

    recipe: str = Field("world", description="name of the recipe or file this came from")
    seed: CountOrZero = Field(0, description="seed of prompts, noise and adapters")
    model: ModelConfig = ModelConfig()
    prompts: PromptsConfig = PromptsConfig()
    reward: RewardConfig = RewardConfig()
    rollout: RolloutConfig = RolloutConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        if self.train.algorithm == "grpo" and self.rollout.eta == 0:
            raise ValueError(
                "rollout.eta is 0, but grpo needs a stochastic sampler; "
                "set rollout.eta=1 or train.algorithm=nft"
            )
        if self.train.window > self.rollout.steps:
            raise ValueError(
                f"train.window is {self.train.window}, more than rollout.steps ({self.rollout.steps}); "
                "set train.window lower or 0"
            )
        return self


def list_recipes() -> list[str]:
    """Names of the shipped recipes; `world`, the default, comes first."""
    return sorted((path.stem for path in RECIPES.glob("*.yaml")), key=lambda name: (name != "world", name))


def recipe_path(name: str) -> Path:
    """The YAML file of a shipped recipe."""
    path = RECIPES / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"there is no recipe {name!r}{_did_you_mean(name, list_recipes())}")
    return path


def load_config(source: str | Path | None, overrides: list[str]) -> RunConfig:
    """The validated configuration of a run.

    Args:
        source: a recipe's name or a YAML file; None is the recipe `world`.
        overrides: words of the form key=value, for example reward.alpha=0.7.
    """
    words = _parse_words(overrides)
    values = _read_layers(source or "world", seen=())
    try:
        merged = OmegaConf.to_container(OmegaConf.merge(values, words), resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"the settings do not fit together: {str(error).splitlines()[0]}") from error
    return validate(merged)


def validate(values: Any) -> RunConfig:
    """A plain mapping as a RunConfig; the first thing wrong with it becomes one readable line."""
    _refuse_unknown(values, keys=dotted_keys())
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain(error)) from error


def load_run_config(path: Path) -> RunConfig:
    """The configuration a run folder was started with."""
    return validate(OmegaConf.to_container(_read_yaml(path)))


def dump(config: RunConfig) -> str:
    """YAML text that load_config reads back."""
    return OmegaConf.to_yaml(OmegaConf.create(config.model_dump()))


def flatten(config: RunConfig) -> dict[str, Any]:
    """Dotted keys and their values."""
    values = config.model_dump()
    sections = {k: v for k, v in values.items() if isinstance(v, dict)}
    plain = {k: v for k, v in values.items() if k not in sections}
    return plain | {f"{name}.{k}": v for name, section in sections.items() for k, v in section.items()}


def diff(a: RunConfig, b: RunConfig) -> list[str]:
    """Dotted keys whose values differ."""
    left, right = flatten(a), flatten(b)
    return [key for key in left if left[key] != right[key]]


def dotted_keys() -> list[str]:
    """Every setting there is, as section.name."""
    return list(flatten(RunConfig()))


def _read_layers(source: str | Path, seen: tuple[Path, ...]) -> Any:
    """A recipe or file merged over what it extends; `recipe` becomes the outermost name."""
    is_file = str(source).endswith((".yaml", ".yml"))
    path = Path(source) if is_file else recipe_path(str(source))
    if path in seen:
        raise UserError(f"{path} extends itself; remove one of the `extends:` lines")
    values = _read_yaml(path)
    base = values.pop("extends", None)
    values["recipe"] = path.stem
    return OmegaConf.merge(_read_layers(base, (*seen, path)), values) if base else values


def _read_yaml(path: Path) -> Any:
    try:
        values = OmegaConf.load(path)
    except OSError as error:
        raise UserError(f"cannot read the configuration {path}: {(error.strerror or '').lower()}") from error
    except (YAMLError, UnicodeDecodeError, OmegaConfBaseException) as error:
        raise UserError(f"{path} is no valid YAML: {' '.join(str(error).split())[:160]}") from error
    if not OmegaConf.is_dict(values):
        raise UserError(f"{path} must hold settings as `section:` and `key: value` lines")
    return values


def _parse_words(words: list[str]) -> Any:
    for word in words:
        if "=" not in word or word.startswith("="):
            raise UserError(f"{word!r} is no setting; write it as key=value, for example reward.alpha=0.7")
    try:
        return OmegaConf.from_dotlist(words)
    except (OmegaConfBaseException, YAMLError) as error:
        raise UserError(f"cannot read {' '.join(words)}: {str(error).splitlines()[0]}") from error


def _refuse_unknown(values: Any, keys: list[str], prefix: str = "") -> None:
    sections = {key.split(".")[0] for key in keys if "." in key}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and key in sections:
            _refuse_unknown(value, keys, f"{key}.")
        elif key in sections:
            raise UserError(f"{key} is a group of settings, not a value; write {key}.NAME=...")
        elif key not in keys:
            leaf = key.rpartition(".")[2]
            raise UserError(f"{key} is not a setting{_did_you_mean(key, keys, leaf)}")


def _did_you_mean(word: str, known: list[str], leaf: str | None = None) -> str:
    """`; did you mean X?` for the nearest known name, else the list of names to look at."""
    near = get_close_matches(word, known, n=1, cutoff=0.75)
    if not near and leaf:
        leaves = {key.rpartition(".")[2]: key for key in reversed(known)}
        near = [leaves[name] for name in get_close_matches(leaf, leaves, n=1, cutoff=0.75)]
    if near:
        return f"; did you mean {near[0]}?"
    return "; `safediffusion train --dry-run` prints all settings" if leaf else f"; known: {', '.join(known)}"


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    key = ".".join(str(part) for part in first["loc"])
    if not key:
        return message
    return f"{key}={first['input']!r} is not accepted: {message[0].lower()}{message[1:]}"
