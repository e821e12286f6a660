"""The training loop: sample, score, compare, update, record."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from accelerate.utils import set_seed
from torch import Tensor

from safediffusion.config import RunConfig
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.finite import finite
from safediffusion.files.run_folder import RunFolder
from safediffusion.prompts.select import Prompt, refuse_minors
from safediffusion.steering.reward import Reward, Rewards
from safediffusion.system import distributed
from safediffusion.system.signals import interruptible, peak_memory_mib, stop
from safediffusion.training.advantages import rewards_summary, weighted_advantages, zero_std_ratio
from safediffusion.training.algorithms import get_algorithm
from safediffusion.training.collapse_alarm import CollapseAlarm, image_statistics
from safediffusion.training.groups import GroupSource
from safediffusion.training.learner import Learner
from safediffusion.training.pass_counter import PassCounter
from safediffusion.training.phase_clock import PhaseClock
from safediffusion.training.recorder import Recorder, Row, flat
from safediffusion.training.reward_decoder import RewardDecoder
from safediffusion.training.sample_sheets import write_sheet
from safediffusion.training.steered_sampling import learn_steering, refuse_steered

FIRST_CHECKPOINT = 2  # before the alarm can fire, so that it always finds a healthy one


@dataclass(frozen=True)
class TrainResult:
    """The outcome of a run; status is "finished" or "collapsed"."""

    status: str
    steps: int
    images: int
    updates: int
    seconds: float
    peak_memory_mib: float
    collapsed_at: int | None


class Trainer:
    """Trains a Diffuser on a reward and writes metrics, samples, checkpoints and a model to a run folder.

    Args:
        config: of the run; the same folder and config resume it.
        diffuser: the policy; its network is trained in place.
        reward: (images (n, 3, h, w) in [0, 1], prompts) -> (n,) float32, or several of them with weights.
        prompts: the prompts of the run; every round draws some of them.
        folder: of the run.
        recognisable: returns the share of images that show a recognisable scene, for the collapse alarm.

    Attributes:
        on_step: called with the metrics row after every round.
        on_phase: called with "sample", "decode", "score" or "update" as each begins.

    Raises:
        UserError: the settings do not fit the algorithm.

    Examples:
        >>> from pathlib import Path
        >>> from safediffusion import Trainer, load_config, load_model
        >>> from safediffusion.files.run_folder import RunFolder
        >>> from safediffusion.prompts.select import Prompt
        >>> sizes = ["train.steps=1", "rollout.prompts=2", "rollout.group_size=2", "prompts.path=world"]
        >>> prompts = [Prompt("a red square"), Prompt("a blue circle")]
        >>> def redness(images, prompts):
        ...     return images[:, 0].mean((1, 2)) - images[:, 1:].mean((1, 2, 3))
        >>> config, folder = load_config("world", sizes), RunFolder(Path("run"))
        >>> trainer = Trainer(config, load_model("world"), redness, prompts, folder)
        >>> trainer.run().images
        4
    """

    def __init__(
        self,
        config: RunConfig,
        diffuser: Diffuser,
        reward: Reward | Rewards,
        prompts: Sequence[Prompt],
        folder: RunFolder,
        *,
        recognisable: Callable[[Tensor], float] | None = None,
    ) -> None:
        refuse_minors(prompts)
        self.config, self.diffuser, self.rewards = config, diffuser, Rewards.of(reward)
        self.prompts, self.folder, self.device = prompts, folder, diffuser.device
        self.recognisable = recognisable
        self.on_step: Callable[[Row], None] | None = None
        self.on_phase: Callable[[str], None] | None = None
        algorithm = get_algorithm(config.train.algorithm)
        algorithm.check(config)
        refuse_steered(config, algorithm)
        self.learner = Learner(config, diffuser, algorithm.keeps_old_copy(config))
        self.algorithm = algorithm(config, self.learner)
        set_seed(config.seed + distributed.rank())  # for rewards that draw at random
        self.alarm = CollapseAlarm()
        self.recorder = Recorder(config, self.learner, folder)
        self.values: Row = {}  # of the last round: its metrics, and the results of a small evaluation
        self.step = 0
        self.seconds = 0.0
        self.passes = PassCounter()
        self.decode = RewardDecoder(diffuser, self.score_first, config.compared, config.rollout.batch_size)
        self.groups = GroupSource(config, diffuser, prompts, self.rewards.parts[0].function)

    def run(self) -> TrainResult:
        """Run the remaining rounds, then export the model.

        Ctrl-C or SIGTERM to any process ends the training after the current round, with a checkpoint.
        """
        self.resume()
        self.announce()
        train = self.config.train
        with interruptible() as interrupted:
            while self.step < train.steps and not self.out_of_time and not self.ended_by_collapse:
                row = self.round()
                self.record(row)
                signal_number = max(distributed.all_gather_object(interrupted()))
                planned = self.step == train.steps or self.step % train.checkpoint_every == 0
                if signal_number or planned or self.out_of_time or self.step == FIRST_CHECKPOINT:
                    # where a run was interrupted must not decide which weights are the best
                    self.save(self.values if planned or self.out_of_time else {})
                if signal_number:
                    self.recorder.log(
                        f"interrupted after round {self.step}; the same command goes on from here"
                    )
                    stop(signal_number)
        return self.finish()

    def round(self) -> Row:
        """One round: sample groups of images, score them, compare each group, update the policy.

        Returns:
            The row of metrics.jsonl.
        """
        clock = PhaseClock(self.device, self.on_phase)
        drawn = self.groups(self.step)
        batch = drawn.batch
        with clock("sample"), self.diffuser.whole({}), self.passes.counting(self.diffuser.network):
            self.learn_steering()
            latents = self.algorithm.sample(batch)
        with clock("decode"):
            images = finite(self.decode(latents, drawn.texts))
        with clock("score"), torch.no_grad():
            scores = distributed.all_gather(self.rewards(images, drawn.texts).to(self.device), dim=1)
            groups = scores.view(len(scores), -1, self.config.compared)
            train = self.config.train
            clip = math.inf if self.algorithm.by_rank else train.adv_clip
            advantages = weighted_advantages(groups, self.rewards.weights, clip, train.adv_spread)
        spreads = scores[0].view(self.config.rollout.prompts, -1).std(1)
        self.groups.curriculum.observe(drawn.prompts, spreads.tolist())
        seen = self.image_values(images)
        lr = train.lr_at(self.step)
        self.learner.set_lr(lr)
        with clock("update"), self.passes.counting(self.diffuser.network):
            updated = self.algorithm.update(batch, advantages.flatten()[batch.rows])
        passes = distributed.all_gather_object(self.passes.take())
        seconds = max(distributed.all_gather_object(clock.stop()))
        self.step += 1
        self.seconds += seconds
        return {
            "step": self.step,
            **rewards_summary(scores[:, drawn.unborrowed], groups, self.rewards.names, drawn.labels),
            "zero_std_ratio": zero_std_ratio(advantages),
            **updated,
            "lr": lr,
            "loss_scale": self.learner.scaler.get_scale(),
            "images_per_s": batch.total / seconds,
            "seconds": clock.seconds,
            "passes": {way: sum(own[way] for own in passes) for way in passes[0]},
            "peak_memory_mib": max(distributed.all_gather_object(peak_memory_mib(self.device))),
            **seen,
        }

    def learn_steering(self) -> None:
        """Compute the steering vectors of rollout.steered once, by the untrained network."""
        if self.config.rollout.steered and self.algorithm.steering is None:
            reward = self.rewards.parts[0].function
            self.algorithm.steering = learn_steering(self.config, self.diffuser, self.prompts, reward)
            concepts = self.algorithm.steering.vectors.concepts
            self.recorder.log(f"steers away from {len(concepts)} concepts: {', '.join(concepts)}")

    def before_loading(self) -> None:
        """Compute the steering vectors again, as long as the network is untrained.

        Their passes are in the first round's row already.
        """
        with self.diffuser.whole({}):
            self.learn_steering()

    @torch.no_grad()
    def score_first(self, images: Tensor, texts: Sequence[str]) -> Tensor:
        """The main reward of the images of all processes, (n,)."""
        return distributed.all_gather(self.rewards.parts[0](images, texts).to(self.device))

    @torch.no_grad()
    def image_values(self, images: Tensor) -> Row:
        """Statistics of the images of all processes, and the share of recognisable ones."""
        values = image_statistics(images)
        if self.recognisable:
            values["recognisable"] = self.recognisable(images)
        values = distributed.mean(values, len(images))
        return {"recognisable": values.pop("recognisable", None), "image_stats": values}

    def record(self, row: Row) -> None:
        """Write the metrics of a round, update the alarm, and write a sample sheet where one is due."""
        wrong = self.alarm.update(self.step, row)
        row["collapse"] = wrong is not None
        self.values = flat(row)
        self.recorder.record(row)
        self.recorder.score(self.values)  # a wrong name is told after one round, not at the first checkpoint
        if wrong and self.alarm.collapsed_at == self.step:
            kept = self.recorder.keep_healthy()
            self.recorder.log(
                f"warning: round {self.step} looks like reward hacking: {wrong}; healthy checkpoint: {kept}"
            )
        if self.step % self.config.train.sample_every == 0 or self.step == self.config.train.steps:
            self.write_sheet()
        if self.on_step:
            self.on_step(row)

    @property
    def ended_by_collapse(self) -> bool:
        """Whether the alarm has fired in a run that ends there."""
        return self.config.train.stop_on_collapse and self.alarm.collapsed_at is not None

    @property
    def out_of_time(self) -> bool:
        """Whether the training time that the run may take is spent."""
        limit = self.config.train.max_seconds
        return limit is not None and self.seconds >= limit

    def write_sheet(self) -> None:
        """Write the sample sheet of this round."""
        with self.learner.evaluation_weights():
            if distributed.is_main():
                write_sheet(self.diffuser, self.prompts, self.config, self.folder, self.step)

    def announce(self) -> None:
        """Log the derived numbers that show a wrong setting before it costs an hour."""
        c, count = self.config, sum(p.numel() for p in self.learner.parameters)
        images = c.rollout.prompts * c.rollout.group_size
        self.recorder.log(
            f"{c.train.algorithm}: {count:,} trainable parameters, {images} images per round in "
            f"{c.rollout.prompts} groups, {c.train.updates} optimizer steps per round, "
            f"{c.train.steps * c.train.updates} in all, on {distributed.describe_count(distributed.count())}"
        )
        for line in (*self.algorithm.describe(), *self.groups.describe()):
            self.recorder.log(line)

    def resume(self) -> None:
        """Go back to the newest checkpoint, or start with a sample sheet of the untrained model."""
        state = self.recorder.resume(self.before_loading)
        if state is None:
            self.write_sheet()
            return
        self.step, self.seconds = state["step"], state["seconds"]
        self.alarm = CollapseAlarm(**state["monitor"])
        self.groups.curriculum.load(state["spreads"])
        self.decode.agreement = state["tiny_agreement"]

    def save(self, values: Row) -> None:
        """Write a checkpoint of this round; without values it is never the best one."""
        state = {
            "seconds": self.seconds,
            "healthy": self.alarm.healthy,
            "monitor": self.alarm.state(),
            "spreads": self.groups.curriculum.state(),
            "tiny_agreement": self.decode.agreement,
        }
        self.recorder.save(self.step, state, values)

    def finish(self) -> TrainResult:
        """Export the model; after a stop by the alarm, the healthy one."""
        if self.ended_by_collapse:
            self.save({})
            self.recorder.log(f"stopped by the collapse alarm after round {self.step}")
        self.recorder.finish(self.step, self.ended_by_collapse)
        c = self.config
        return TrainResult(
            status="finished" if self.alarm.collapsed_at is None else "collapsed",
            steps=self.step,
            images=self.step * c.rollout.prompts * c.rollout.group_size,
            updates=self.step * c.train.updates,
            seconds=self.seconds,
            peak_memory_mib=peak_memory_mib(self.device),
            collapsed_at=self.alarm.collapsed_at,
        )
