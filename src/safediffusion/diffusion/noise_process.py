"""The interface of a noise process: diffusion (ddim.py) or flow matching (flow.py)."""

from typing import Any, Protocol

from torch import Tensor

from safediffusion.config.schema import Sde
from safediffusion.errors import UserError


class Schedule(Protocol):
    """The noise levels a sampler visits, and its step."""

    @property
    def timesteps(self) -> Tensor:
        """The timestep argument of the network, (T,), descending."""
        ...

    @property
    def levels(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights of signal and noise before each step, and after it: four tensors (T,) float32."""
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
    """Forward process from clean latents to noise, and the samplers that reverse it."""

    levels: int

    def schedule(self, steps: int, sde: Sde = "cps") -> Schedule:
        """The sampler of `steps` steps; `sde` names how flow matching is made stochastic."""
        ...

    def timestep(self, level: Tensor) -> Tensor:
        """The timestep argument of the network at noise levels (n,) in [0, levels); 0 is the cleanest."""
        ...

    def add_noise(self, x0: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """x_t of the forward process, (n, c, h, w)."""
        ...

    def target(self, x0: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """The training target at x_t: the noise, v or the velocity, (n, c, h, w)."""
        ...

    def predicted(self, output: Tensor, latents: Tensor, level: Tensor) -> Tensor:
        """The network's prediction of `target`, (n, c, h, w), from its output at x_t."""
        ...

    def weight(self, level: Tensor) -> Tensor:
        """Weight of a squared error of `predicted`, (n,)."""
        ...


def at(values: Tensor, i: int | Tensor) -> Tensor:
    """values[i], shaped to multiply latents (n, c, h, w) where i is (n,)."""
    return values[i] if isinstance(i, int) else values[i].view(-1, 1, 1, 1)


def refuse_more_steps(scheduler: Any, steps: int) -> None:
    """Refuse more sampling steps than the model was trained with.

    Raises:
        UserError: with the most that it allows.
    """
    available = scheduler.config["num_train_timesteps"]
    if steps > available:
        raise UserError(
            f"{steps} sampling steps are more than the {available} this model was trained with; "
            f"set rollout.steps (evaluate.steps, --steps) to at most {available}."
        )
