"""The network's calls as a method sees and changes them: by this package's sampler or diffusers' pipeline.

Both send [unconditional rows; conditional rows] under classifier-free guidance and combine the two halves of
the output. A method that changes what goes in or comes out of the network's forward pass acts in both.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from safediffusion.diffusion.acting_method import require_guidance
from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.rollout import any_rows


@dataclass(frozen=True)
class Call:
    """One call of a UNet.

    Attributes:
        latents: x_t, (n, c, h, w); with guidance both halves.
        timestep: of all rows.
        cond: text conditioning of the same rows.
        guidance: scale of classifier-free guidance; up to 1 there is one half.
        scheduler: whose timesteps the sampler visits.
        index: calls before this one since the first timestep.
        run: the network's own output (m, c, h, w) float32 for latents and conditioning of m rows. Rows beyond
            n take the image size of the last ones.
    """

    latents: Tensor
    timestep: float
    cond: Condition
    guidance: float
    scheduler: Any
    index: int
    run: Callable[[Tensor, Condition], Tensor]

    def halves(self, method: str) -> tuple[Condition, Condition]:
        """The unconditional and the conditional rows.

        Raises:
            UserError: the sampler has no guidance, and the method of this name acts through it.
        """
        require_guidance(method, self.guidance)
        n = len(self.cond) // 2
        return self.cond[:n], self.cond[n:]


Act = Callable[[Call], Tensor]  # returns what the caller gets as the network's output, (n, c, h, w)


@contextmanager
def put(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Inside, an object has its own attribute of this name; after, the one of before or that of its class."""
    before = vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        delattr(owner, name)
        if before is not None:
            setattr(owner, name, before)


class Calls:
    """Stands for a network's forward pass, and tells a method what the sampler is.

    Args:
        diffuser: whose UNet is called.
        act: the method.
    """

    def __init__(self, diffuser: Diffuser, act: Act) -> None:
        self.diffuser, self.act = diffuser, act
        self.network, self.own = diffuser.network.forward, diffuser.forward
        self.signature = inspect.signature(type(diffuser.network).forward)
        self.guidance: float | None = None  # of our own sampler, while it calls
        self.index, self.acting = -1, False

    def from_our_sampler(self, latents: Tensor, t: Tensor, cond: Condition, guidance: float) -> Tensor:
        """Instead of `Diffuser.forward`."""
        self.guidance = guidance
        try:
            return self.own(latents, t, cond, guidance)
        finally:
            self.guidance = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Instead of the network's forward pass; calls that the method itself makes go through unchanged."""
        if self.acting:
            return self.network(*args, **kwargs)
        given = self.signature.bind(self.diffuser.network, *args, **kwargs).arguments
        self.acting = True
        try:
            call = self._call(given)
            output = self.act(call).to(given["sample"].dtype)
        finally:
            self.acting = False
        return (output,)

    def _call(self, given: dict[str, Any]) -> Call:
        pipeline = self.diffuser.pipeline
        if self.guidance is None:
            scheduler = pipeline.scheduler
            guidance = pipeline.guidance_scale if pipeline.do_classifier_free_guidance else 1.0
        else:
            scheduler, guidance = self.diffuser.scheduler, self.guidance
        t = torch.as_tensor(given["timestep"]).flatten()[:1]
        self.index = 0 if t.item() == float(scheduler.timesteps[0]) else self.index + 1
        added = given.get("added_cond_kwargs") or {}
        cond = Condition(given["encoder_hidden_states"], added.get("text_embeds"))

        def run(latents: Tensor, cond: Condition) -> Tensor:
            inputs: dict[str, Any] = {"sample": latents, "timestep": t, "encoder_hidden_states": cond.tokens}
            if added:
                ids = added["time_ids"]
                ids = torch.cat([ids, ids[-1:].expand(len(latents) - len(ids), -1)])
                inputs["added_cond_kwargs"] = {"text_embeds": cond.pooled, "time_ids": ids}
            return self.network(**inputs, return_dict=False)[0].float()

        return Call(given["sample"], t.item(), cond, guidance, scheduler, self.index, run)


@contextmanager
def changing_calls(diffuser: Diffuser, act: Act) -> Iterator[None]:
    """Inside, `act` makes the output of every call of the UNet."""
    calls = Calls(diffuser, act)
    with ExitStack() as stack:
        stack.enter_context(any_rows(diffuser))
        stack.enter_context(put(diffuser, "forward", calls.from_our_sampler))
        stack.enter_context(put(diffuser.network, "forward", calls.forward))
        yield
