"""The loop: sample, score, compare, update, record. Everything else is somewhere else."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from safediffusion.config import RunConfig
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.prompts import Prompt, mixed_batch, source_sizes
from safediffusion.runs import RunFolder, append_jsonl, read_jsonl, write_text
from safediffusion.steering.reward import Reward, Rewards
from safediffusion.training import checkpoint
from safediffusion.training.advantages import reward_summary, weighted_advantages, zero_std_ratio
from safediffusion.training.conditions import PromptConditions
from safediffusion.training.grpo_update import Grpo
from safediffusion.training.learner import Learner
from safediffusion.training.monitor import Monitor, image_statistics
from safediffusion.training.nft_update import Nft
from safediffusion.training.pictures import write_sheet
from safediffusion.training.process import Clock, interruptible, peak_memory_mib
from safediffusion.training.updates import Algorithm, Batch

Row = dict[str, Any]


@dataclass(frozen=True)
class TrainResult:
    """What a run amounted to; status is "finished" or "collapsed"."""

    status: str
    steps: int
    images: int
    updates: int
    seconds: float
    peak_memory_mib: float
    collapsed_at: int | None


class Trainer:
    """Trains a Diffuser on a reward and leaves metrics, samples, checkpoints and a model in a run folder.

    Args:
        config: the run; the same folder and config resume it.
        diffuser: the policy; its network is trained in place.
        reward: (images (n, 3, h, w) in [0, 1], prompts) -> (n,) float32, or several of them with weights.
        prompts: what is drawn from.
        folder: where everything goes.
        device: where the rewards are compared; the diffuser's.
        on_step: called with the metrics row after every round.
        on_phase: called with "sample", "score" or "update" as each begins.
        recognisable: share of images that show a recognisable scene, for the collapse alarm.
    """

    def __init__(
        self,
        config: RunConfig,
        diffuser: Diffuser,
        reward: Reward | Rewards,
        prompts: Sequence[Prompt],
        folder: RunFolder,
        device: torch.device | str,
        *,
        on_step: Callable[[Row], None] | None = None,
        on_phase: Callable[[str], None] | None = None,
        recognisable: Callable[[Tensor], float] | None = None,
    ) -> None:
        self.config, self.diffuser, self.rewards = config, diffuser, Rewards.of(reward)
        self.prompts, self.folder, self.device = prompts, folder, torch.device(device)
        self.on_step, self.on_phase, self.recognisable = on_step, on_phase, recognisable
        self.learner = Learner(config, diffuser)
        algorithms: dict[str, type[Grpo] | type[Nft]] = {"grpo": Grpo, "nft": Nft}
        self.algorithm: Algorithm = algorithms[config.train.algorithm](config, self.learner)
        self.monitor = Monitor()
        self.step = 0
        self.seconds = 0.0
        self.conditions = PromptConditions(diffuser, [p.text for p in prompts])

    def run(self) -> TrainResult:
        """All rounds that are left, then the export. Ctrl-C ends it after the round, with a checkpoint."""
        self.resume()
        self.announce()
        train = self.config.train
        with interruptible() as interrupted:
            while self.step < train.steps and not self.ended_by_collapse:
                row = self.round()
                self.record(row)
                if interrupted() or self.step % train.checkpoint_every == 0 or self.step == train.steps:
                    self.save()
                if interrupted():
                    self.log(f"interrupted after step {self.step}; the same command goes on from here")
                    raise KeyboardInterrupt
        return self.finish()

    def round(self) -> Row:
        """One prompt batch: sample, score, compare, update."""
        clock = Clock(self.on_phase)
        batch, texts, labels = self.draw()
        with clock("sample"):
            images = self.algorithm.sample(batch)
        with clock("score"), torch.no_grad():
            scores = self.rewards(images, texts).to(self.device)
            groups = scores.view(len(scores), self.config.rollout.prompts, -1)
            advantages = weighted_advantages(groups, self.rewards.weights, self.config.train.adv_clip)
            statistics = image_statistics(images)
            recognisable = self.recognisable(images) if self.recognisable else None
        with clock("update"):
            updated = self.algorithm.update(batch, advantages.flatten())
        self.step += 1
        self.seconds += clock.total
        return {
            "step": self.step,
            **reward_summary(scores[0], labels),
            "rewards": {
                name: reward_summary(own, labels) | {"zero_std_ratio": zero_std_ratio(group)}
                for name, own, group in zip(self.rewards.names, scores, groups, strict=True)
            },
            "zero_std_ratio": zero_std_ratio(advantages),
            **updated,
            "lr": self.config.train.lr,
            "images_per_s": len(images) / clock.total,
            "seconds": clock.seconds,
            "peak_memory_mib": peak_memory_mib(self.device),
            "image_stats": statistics,
            "recognisable": recognisable,
        }

    def draw(self) -> tuple[Batch, list[str], list[str | None]]:
        """This round's rows, each group's members side by side, with their texts and labels."""
        c = self.config.rollout
        sizes, weights = source_sizes(self.prompts), self.config.prompts.weights
        chosen = mixed_batch(sizes, weights, self.config.seed, self.step, c.prompts)
        keys = [(i, member) for i in chosen for member in range(c.group_size)]
        cond = self.conditions(chosen).repeat_interleave(c.group_size)
        rows = [self.prompts[i] for i, _ in keys]
        return Batch(self.step, keys, cond), [p.text for p in rows], [p.label for p in rows]

    def record(self, row: Row) -> None:
        """Metrics, alarm and pictures of a round."""
        wrong = self.monitor.update(self.step, row)
        row["collapse"] = wrong is not None
        append_jsonl(self.folder.metrics, row)
        if wrong and self.monitor.collapsed_at == self.step:
            kept = checkpoint.keep_healthy(self.folder.checkpoints)
            self.log(
                f"warning: step {self.step} looks like reward hacking: {wrong}; healthy checkpoint: {kept}"
            )
        if self.step % self.config.train.sample_every == 0 or self.step == self.config.train.steps:
            self.picture()
        if self.on_step:
            self.on_step(row)

    @property
    def ended_by_collapse(self) -> bool:
        """The alarm went off in a run that is to end there."""
        return self.config.train.stop_on_collapse and self.monitor.collapsed_at is not None

    def picture(self) -> None:
        """Write the sample sheet of this step."""
        with self.learner.evaluation_weights():
            write_sheet(self.diffuser, self.prompts, self.config.evaluate, self.folder.samples, self.step)

    def announce(self) -> None:
        """The derived numbers that show a wrong setting before it costs an hour."""
        c, count = self.config, sum(p.numel() for p in self.learner.parameters)
        images = c.rollout.prompts * c.rollout.group_size
        self.log(
            f"{c.train.algorithm}: {count:,} trainable parameters, {images} images a step in "
            f"{c.rollout.prompts} groups, {c.train.updates} optimizer steps a step, "
            f"{c.train.steps * c.train.updates} in all"
        )
        for line in self.algorithm.describe():
            self.log(line)

    def resume(self) -> None:
        """Go back to the newest checkpoint, or start with the pictures of the untrained model."""
        path = checkpoint.latest(self.folder.checkpoints)
        if path is None:
            write_text(self.folder.metrics, "")
            self.picture()
            return
        state = checkpoint.read_state(path)
        self.learner.load(checkpoint.read_tensors(path))
        self.step, self.seconds = state["step"], state["seconds"]
        self.monitor = Monitor(**state["monitor"])
        rows = [row for row in read_jsonl(self.folder.metrics) if row["step"] <= self.step]
        write_text(self.folder.metrics, "")
        for row in rows:
            append_jsonl(self.folder.metrics, row)
        self.log(f"resumed after step {self.step}")

    def save(self) -> None:
        """A checkpoint of this step."""
        state = {"seconds": self.seconds, "healthy": self.monitor.healthy, "monitor": self.monitor.state()}
        keep = self.config.train.keep_checkpoints
        checkpoint.save(self.folder.checkpoints, self.step, self.learner.state(), state, keep)

    def finish(self) -> TrainResult:
        """Export the model; after a stop by the alarm, the healthy one."""
        if self.ended_by_collapse:
            self.save()
            healthy = checkpoint.keep_healthy(self.folder.checkpoints)
            if healthy:
                self.learner.load(checkpoint.read_tensors(healthy))
            self.log(f"stopped by the collapse alarm; model/ is from {healthy or f'step {self.step}'}")
        self.export()
        c = self.config
        return TrainResult(
            status="finished" if self.monitor.collapsed_at is None else "collapsed",
            steps=self.step,
            images=self.step * c.rollout.prompts * c.rollout.group_size,
            updates=self.step * c.train.updates,
            seconds=self.seconds,
            peak_memory_mib=peak_memory_mib(self.device),
            collapsed_at=self.monitor.collapsed_at,
        )

    def export(self) -> None:
        """Write model/, whole or not at all."""
        partial = self.folder.root / ".model.partial"
        try:
            with self.learner.evaluation_weights():
                self.diffuser.export(partial)
            checkpoint.replace_folder(partial, self.folder.model)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def log(self, line: str) -> None:
        """A line in log.txt."""
        self.folder.log.parent.mkdir(parents=True, exist_ok=True)
        with self.folder.log.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
