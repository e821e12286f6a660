"""What sampling and learning ask of a noise process: diffusion (ddim.py) or flow matching (flow.py)."""

from typing import Any, Literal, Protocol

from torch import Tensor

from safediffusion.errors import UserError

Sde = Literal["cps", "flow-grpo"]


class Schedule(Protocol):
    """The noise levels a sampler visits, and its step."""

    @property
    def timesteps(self) -> Tensor:
        """What the network is told, (T,), descending."""
        ...

    @property
    def levels(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights of signal and noise before each step, and after it, (T,) float32 each."""
        ...

    def __len__(self) -> int: ...

    def clean(self, output: Tensor, latents: Tensor, i: int | Tensor) -> Tensor:
        """Predicted clean latents at step i, (n, c, h, w)."""
        ...

    def sigma(self, eta: float) -> Tensor:
        """Deviation of every step, (T,) float32; 0 at a deterministic one."""
        ...

    def step(self, output: Tensor, latents: Tensor, i: int | Tensor, eta: float) -> tuple[Tensor, Tensor]:
        """Mean (n, c, h, w) and deviation of the next latents.

        Args:
            output: the network's output, (n, c, h, w) float32.
            latents: x_t, (n, c, h, w) float32.
            i: position in the schedule, one for all rows or (n,) int64.
            eta: 0 is deterministic.
        """
        ...


class Process(Protocol):
    """How clean latents become noise, and the samplers that go back."""

    levels: int

    def schedule(self, steps: int, sde: Sde = "cps") -> Schedule:
        """The sampler of `steps` steps; `sde` is the way flow matching is made stochastic."""
        ...

    def timestep(self, level: Tensor) -> Tensor:
        """What the network is told at noise levels (n,) in [0, levels), the cleanest first."""
        ...

    def add_noise(self, x0: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """x_t of the forward process, (n, c, h, w)."""
        ...

    def target(self, x0: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """What a perfect network would know of x_t: its noise, v, or its velocity, (n, c, h, w)."""
        ...

    def predicted(self, output: Tensor, latents: Tensor, level: Tensor) -> Tensor:
        """The network's idea of `target`, (n, c, h, w), from its output at x_t."""
        ...

    def weight(self, level: Tensor) -> Tensor:
        """How much an error of `predicted` counts, (n,)."""
        ...


def at(values: Tensor, i: int | Tensor) -> Tensor:
    """values[i], shaped to multiply latents (n, c, h, w) where i is (n,)."""
    return values[i] if isinstance(i, int) else values[i].view(-1, 1, 1, 1)


def refuse_more_steps(scheduler: Any, steps: int) -> None:
    """A sampler cannot take more steps than the model was trained with."""
    available = scheduler.config["num_train_timesteps"]
    if steps > available:
        raise UserError(
            f"{steps} sampling steps are more than the {available} this model was trained with; "
            f"set rollout.steps (or evaluate.steps) to at most {available}."
        )
