"""What a run is going to do, before it does it: the numbers `--dry-run` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from safediffusion.config import RunConfig, list_presets
from safediffusion.config.inputs import PromptSource
from safediffusion.config.load import with_preset
from safediffusion.config.schema import OneRewardConfig
from safediffusion.errors import UserError
from safediffusion.evaluation.detectors.clip import BASE as JUDGE
from safediffusion.evaluation.tasks import HELDOUT
from safediffusion.prompts.order import source_sizes
from safediffusion.prompts.sources import HUB_ID, is_dataset, is_sensitive
from safediffusion.run.memory import GIB, Memory, disk, memory
from safediffusion.run.model_cost import ModelCost, cost_with, planned_cost
from safediffusion.run.preflight import check_config, check_labels, check_model
from safediffusion.run.prompts import run_prompts
from safediffusion.run.rates import measured_rates
from safediffusion.run.workload import MIB, Work, count_work, steering_flops
from safediffusion.steering.encoders import HPS, HPS_REPO
from safediffusion.training.algorithms import get_algorithm
from safediffusion.training.algorithms.call_size import network_rows, shared_rows

if TYPE_CHECKING:
    from safediffusion.diffusion.diffuser import Diffuser

# Dense bfloat16 FLOP/s of cards, and the share of it that a training round is assumed to reach.
CARDS = {"H100": 800e12, "RTX 4090": 165e12}
SHARE = 1 / 3


@dataclass(frozen=True)
class Plan:
    """The size of a run; work and memory are those of one of its processes.

    Attributes:
        parameters, trainable: of the model, and of these trained.
        images_per_step, updates_per_step, optimizer_steps: of all processes; the last in the whole run.
        rounds: of the run.
        work: of a round.
        memory: of a process.
        drawn_rows, learned_rows: of a network call when sampling and in the update.
        together: rows whose activations are kept until a backward pass.
        shared: sampling and update have the same number of rows in every call.
        row_mib: activations of a row in the update.
        recompute: whether they are computed again in the backward pass.
        steering_flops: to compute the vectors of rollout.steered, once in the run.
        disk: bytes of the run folder at its fullest.
        downloads: what the run takes from the hub unless it is on this machine.
        presets: memory of the run with each preset that goes with its settings; none for a small model.
        rates: FLOP/s of the family by card, where they were measured.
    """

    parameters: int
    trainable: int
    images_per_step: int
    updates_per_step: int
    optimizer_steps: int
    rounds: int
    work: Work
    memory: Memory
    drawn_rows: int
    learned_rows: int
    together: int
    shared: bool
    row_mib: float
    recompute: bool
    steering_flops: float = 0.0
    disk: float = 0.0
    downloads: tuple[str, ...] = ()
    presets: Mapping[str, Memory] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)

    @property
    def exaflop(self) -> float:
        """FLOPs of the whole run in 10^18, without its evaluations."""
        return (self.work.flops * self.rounds + self.steering_flops) / 1e18

    def hours(self, card: str) -> float:
        """Hours on the named card, at its measured rate, else at the assumed share of its peak."""
        rate = self.rates[card] if card in self.rates else SHARE * CARDS[card]
        return self.exaflop * 1e18 / rate / 3600

    @property
    def expected(self) -> str:
        """Work and hours as one sentence, as in the header of a recipe."""
        cards = [*CARDS, *(card for card in self.rates if card not in CARDS)]
        return ", ".join([f"{brief(self.exaflop)} EFLOP", *map(self._time, cards)])

    def _time(self, card: str) -> str:
        hours = self.hours(card)
        time = brief(hours) if hours > 0.1 else "less than 0.1"
        name = f"an {card}" if card in CARDS else card
        return f"{time} hours on {name}" + " (measured)" * (card in self.rates)

    @property
    def basis(self) -> str:
        """What the hours rest on, as the end of that sentence."""
        if not self.rates:
            return "at a third of their peak"
        assumed = [f"at a third of the {card}'s peak" for card in CARDS if card not in self.rates]
        return " and ".join(["at the measured rate", *assumed])

    @property
    def needed(self) -> str:
        """Memory and the card for it, as in the header of a recipe."""
        card = self.memory.card
        enough = f"a card of {card} GB is enough" if card else "more than any card has"
        return f"{brief(self.memory.peak / GIB)} GiB at most, while {self.memory.fullest}: {enough}"

    @property
    def with_presets(self) -> str:
        """Memory and the card for it with each preset, as one line."""
        return ", ".join(
            f"{name} {brief(memory.peak / GIB)} GiB ({f'{memory.card} GB' if memory.card else 'no'} card)"
            for name, memory in self.presets.items()
        )

    def __str__(self) -> str:
        work, held = self.work, self.memory
        flops = (work.flops, work.sample_flops, work.update_flops, work.decode_flops)
        whole, draw, learn, decode = (brief(part / 1e15) for part in flops)
        once = brief(self.steering_flops / 1e15)
        share = f"{self.trainable / self.parameters:.1%}"
        calls = "the same in every call" if self.shared else "each its own"
        rows = f"{self.drawn_rows} drawing, {self.learned_rows} learning"
        again = "computed again in the backward pass" if self.recompute else "kept"
        lines = {
            "trainable parameters": f"{self.trainable:,} of {self.parameters:,} ({share})",
            "images per step": f"{self.images_per_step:,}",
            "updates per step": f"{self.updates_per_step:,}",
            "optimizer steps in all": f"{self.optimizer_steps:,}",
            "rows per network call": f"{rows} ({calls}; with guidance)",
            "PFLOP per step": f"{whole}: {draw} to draw, {learn} to learn, {decode} to decode",
            **({"PFLOP once": f"{once} for the steering vectors"} if self.steering_flops else {}),
            "work, estimated": f"{self.expected}, {self.basis}",
            "memory held": f"{held.held / MIB:,.0f} MiB: {self._held()}",
            "activations": f"{self.row_mib:,.0f} MiB per row, {again}; {self.together} rows at a time",
            "memory, estimated": self.needed,
            **({"and with --preset": self.with_presets} if self.presets else {}),
            "disk, estimated": f"{brief(self.disk / GIB)} GiB in the run folder at its fullest",
            **({"from the hub, if new": ", ".join(self.downloads)} if self.downloads else {}),
        }
        return as_lines(lines)

    def _held(self) -> str:
        """The memory that is held all the time, by part, in words."""
        m = self.memory
        parts = {
            "weights": m.weights,
            "optimizer and copies": m.learned,
            "reward": m.encoders,
            "latents": m.latents,
        }
        large = [f"{name} {value / MIB:,.0f}" for name, value in parts.items() if value >= MIB]
        return ", ".join(large) or "no part takes a whole one"


def as_lines(values: Mapping[str, str]) -> str:
    """Names and values, one below the other."""
    return "\n".join(f"{name:<22} {value}" for name, value in values.items())


def brief(value: float) -> str:
    """A number with the two digits that an estimate has: 0.52, 1.8, 58, 300."""
    if value >= 10:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def make_plan(config: RunConfig, model: ModelCost, processes: int = 1, steering_flops: float = 0.0) -> Plan:
    """The plan of a run; work and memory are those of the process that has most."""
    images = -(-config.rollout.prompts // processes) * config.rollout.group_size
    algorithm = get_algorithm(config.train.algorithm)
    drawn, learned, together = network_rows(algorithm, config, images, model.distilled)
    return Plan(
        parameters=model.parameters,
        trainable=model.trainable,
        images_per_step=config.rollout.prompts * config.rollout.group_size,
        updates_per_step=config.train.updates,
        optimizer_steps=config.train.steps * config.train.updates,
        rounds=config.train.steps,
        work=count_work(config, model, processes),
        memory=memory(config, model, processes),
        drawn_rows=drawn,
        learned_rows=learned,
        together=together,
        shared=shared_rows(algorithm, config, images, model.distilled) is not None,
        row_mib=model.learned.row / MIB,
        recompute=config.train.recompute,
        steering_flops=steering_flops,
        disk=disk(config, model),
    )


def preview(config: RunConfig, processes: int = 1, overrides: Sequence[str] = ()) -> Plan:
    """The plan of a run on this machine; loads prompts and model, writes nothing, downloads no prompts.

    Models of a known architecture are not even loaded: the shapes of their weights are enough. Where prompts
    are a dataset of the hub, what depends on them is not checked.

    Args:
        config: of the run.
        processes: that share it.
        overrides: settings of the command line, which stand above a preset.
    """
    remote = any(is_dataset(source.path) for source in config.prompts.sources)
    prompts = [] if remote else run_prompts(config).rows
    check_config(config, None if remote else source_sizes(prompts))
    if not remote:
        check_labels(config, prompts)
    train = config.train
    diffuser, model = planned_cost(config.model, train.lora_rank, train.recompute, tuple(train.lora_targets))
    check_model(config, diffuser, processes)
    plan = make_plan(config, model, processes, steering_flops(config, model, prompts))
    presets = preset_memory(config, diffuser, processes, overrides)
    large = diffuser.device.type == "meta"  # a small model of the same class does not fill a card
    rates = measured_rates(type(diffuser.pipeline).__name__) if large else {}
    return replace(plan, downloads=downloads(config), presets=presets, rates=rates)


def preset_memory(
    config: RunConfig, diffuser: Diffuser, processes: int, overrides: Sequence[str]
) -> dict[str, Memory]:
    """Memory of a run with each preset; see `preview`. Those that its settings forbid are left out."""
    found: dict[str, Memory] = {}
    counted: dict[str, ModelCost | None] = {}
    for name in list_presets():
        try:
            other = with_preset(config, name, overrides)
        except UserError:
            continue
        train, shapes = other.train, other.model.model_copy(update={"offload": False})
        settings = (train.lora_rank, train.recompute, tuple(train.lora_targets))
        key = f"{shapes.model_dump_json()} {settings}"  # presets differ in much that is not counted
        if key not in counted:
            counted[key] = cost_with(diffuser, shapes, *settings)
        if model := counted[key]:
            found[name] = memory(other, model, processes)
    return found


def downloads(config: RunConfig) -> tuple[str, ...]:
    """What a run takes from the hub if it is not on this machine: model, reward encoders, judge, prompts."""
    found = {config.model.path: "model", config.model.tiny_vae or "": "tiny autoencoder"}
    found |= {HPS_REPO if one.encoder in HPS else one.encoder: "reward" for one in every_reward(config)}
    if HELDOUT.name in config.evaluate.tasks and config.model.path != "world":
        found.setdefault(JUDGE, "judge")
    sets = {source.path: needs(source) for source in config.prompts.sources if is_dataset(source.path)}
    return tuple(f"{name} ({what})" for name, what in (found | sets).items() if is_hub_id(name))


def every_reward(config: RunConfig) -> list[OneRewardConfig]:
    """The rewards of a run that have an encoder."""
    return [one for one in (config.reward, *config.reward.also) if ":" not in one.kind]


def needs(source: PromptSource) -> str:
    """What is said of a dataset: that it holds prompts, and whether it needs the user's consent."""
    refused = is_sensitive(source.path, ()) and not source.accept_sensitive
    return "prompts; with prompts.accept_sensitive=true only" if refused else "prompts"


def is_hub_id(name: str) -> bool:
    """Whether a name is an id of the hub, and no file or folder here."""
    return bool(HUB_ID.match(name)) and not Path(name).exists()
