"""What learns: the trainable weights, their optimizer, and the averaged copies made of them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from safediffusion.config import RunConfig
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.weights import swapped
from safediffusion.training import processes


class Learner:
    """Weights in training and everything an exact resume has to bring back."""

    def __init__(self, config: RunConfig, diffuser: Diffuser) -> None:
        train = config.train
        self.diffuser = diffuser
        self.grad_norm = train.grad_norm
        self.ema_decay = train.ema
        torch.manual_seed(config.seed)  # LoRA matrices start at random
        self.named = diffuser.make_trainable(train.lora_rank)
        self.parameters = list(self.named.values())
        if train.recompute:
            diffuser.recompute_activations()
        if train.kl > 0:
            diffuser.keep_reference()
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=train.lr, weight_decay=train.weight_decay, fused=True
        )
        self.old = self._copy() if config.keeps_old_copy else []
        self.ema = self._copy() if train.ema > 0 else []

    def _copy(self) -> list[Tensor]:
        return [p.detach().clone() for p in self.parameters]

    def descend(self) -> float:
        """One optimizer step on the accumulated gradient; returns its norm before clipping."""
        if all(p.grad is None for p in self.parameters):  # no row had an advantage
            for p in self.parameters:
                p.grad = torch.zeros_like(p)  # Adam's moments and the weight decay go on as they would
        processes.add_up(self.parameters)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema:
            self._average(self.ema, self.ema_decay)
        return norm.item()

    def follow(self, decay: float) -> None:
        """Move the old copy towards the weights."""
        self._average(self.old, decay)

    @torch.no_grad()
    def _average(self, copy: list[Tensor], decay: float) -> None:
        get_ema_multi_avg_fn(decay)(copy, [p.data for p in self.parameters], None)

    @contextmanager
    def old_weights(self) -> Iterator[None]:
        """Inside, the network is the old copy."""
        with swapped(self.parameters, self.old):
            yield

    @contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        """Inside, the network is what is evaluated and exported: the EMA where there is one."""
        rows, self.diffuser.call_rows = self.diffuser.call_rows, None
        try:
            with swapped(self.parameters, self.ema or [p.data for p in self.parameters]):
                yield
        finally:
            self.diffuser.call_rows = rows

    def weights(self) -> dict[str, Tensor]:
        """The weights in training, by name."""
        return {name: p.data for name, p in self.named.items()}

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Tensors by file name and tensor name, for a checkpoint."""
        names = list(self.named)
        state: dict[str, dict[str, Tensor]] = {"weights": self.weights(), "optimizer": {}}
        for name, p in self.named.items():
            for key, value in self.optimizer.state[p].items():
                state["optimizer"][f"{name}/{key}"] = value
        if self.old:
            state["old"] = dict(zip(names, self.old, strict=True))
        if self.ema:
            state["ema"] = dict(zip(names, self.ema, strict=True))
        return state

    @torch.no_grad()
    def load(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Bring back what `state` returned, bit for bit."""
        for name, p in self.named.items():
            p.copy_(state["weights"][name])
        for key, value in state["optimizer"].items():
            name, _, field = key.rpartition("/")
            device = self.named[name].device
            self.optimizer.state[self.named[name]][field] = value.to(device)
        for copy, key in ((self.old, "old"), (self.ema, "ema")):
            for tensor, name in zip(copy, self.named, strict=bool(copy)):
                tensor.copy_(state[key][name])
