"""The trainable weights, their optimizer, and the averaged copies made of them."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from safediffusion.config import RunConfig
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.rollout import any_rows
from safediffusion.diffusion.sharding import cut_like, joined, pieces
from safediffusion.diffusion.swap_weights import swapped
from safediffusion.errors import RunError
from safediffusion.system import distributed
from safediffusion.training.compiling import can_compile
from safediffusion.training.optimizer import load_optimizer, make_optimizer, optimizer_tensors


class Learner:
    """The weights in training and everything that an exact resume restores."""

    def __init__(self, config: RunConfig, diffuser: Diffuser, keeps_old_copy: bool = False) -> None:
        train = config.train
        self.diffuser = diffuser
        self.grad_norm = train.grad_norm
        self.ema_decay = train.ema
        torch.manual_seed(config.seed)  # LoRA matrices start at random
        self.sharded = train.shard and distributed.count() > 1
        self.named = diffuser.make_trainable(train.lora_rank, self.sharded, train.lora_targets)
        self.parameters = list(self.named.values())
        if train.channels_last:
            network: Any = diffuser.network
            network.to(memory_format=torch.channels_last)
        if train.recompute:
            diffuser.recompute_activations()
        if train.compile and can_compile(diffuser.device):
            diffuser.compile()
        if train.keeps_reference:
            diffuser.keep_reference()
        self.optimizer = make_optimizer(train, self.parameters)
        self.scaler = torch.amp.GradScaler(  # float16 has no room for small gradients
            diffuser.device.type, enabled=diffuser.dtype == torch.float16
        )
        self.old = self._copy() if keeps_old_copy else []
        self.ema = self._copy() if train.ema > 0 else []

    def _copy(self) -> list[Tensor]:
        return [p.detach().clone() for p in self.parameters]

    def set_lr(self, lr: float) -> None:
        """Set the learning rate of the following optimizer steps."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradient of a part of the loss, scaled for float16."""
        self.scaler.scale(loss).backward()

    def optimizer_step(self) -> float:
        """One optimizer step on the accumulated gradient; returns its norm before clipping.

        A float16 gradient that overflowed is dropped: no step, a norm of 0, and a lower loss scale.
        """
        if all(p.grad is None for p in self.parameters):  # every row of this step had an advantage of 0
            for p in self.parameters:
                p.grad = torch.zeros_like(p)  # so that Adam's moments and the weight decay still advance
        if not self.sharded:  # FSDP2 sums the gradients of shards in the backward pass
            distributed.all_reduce_gradients(self.parameters)
        self.scaler.unscale_(self.optimizer)
        norm = joined(torch.nn.utils.clip_grad_norm_(self.parameters, self.grad_norm)).item()
        if not (math.isfinite(norm) or self.scaler.is_enabled()):
            raise RunError(
                "a gradient is nan or infinite, and the step was not taken; start over with a lower train.lr "
                "or model.dtype=fp32 and --fresh"
            )
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema:
            self._average(self.ema, self.ema_decay)
        dropped = self.scaler.is_enabled() and not math.isfinite(norm)
        return 0.0 if dropped else norm

    def update_old_copy(self, decay: float) -> None:
        """Move the old copy towards the weights: old = decay old + (1 - decay) weights."""
        self._average(self.old, decay)

    @torch.no_grad()
    def _average(self, copy: list[Tensor], decay: float) -> None:
        get_ema_multi_avg_fn(decay)(
            [pieces(c) for c in copy], [pieces(p.data) for p in self.parameters], None
        )

    @contextmanager
    def old_weights(self) -> Iterator[None]:
        """Inside, the network is the old copy."""
        with swapped(self.parameters, self.old):
            yield

    @contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        """Inside, the network is what is evaluated and exported: the EMA where there is one."""
        averaged = dict(zip(self.named, self.ema, strict=bool(self.ema)))
        with any_rows(self.diffuser), self.diffuser.whole(averaged):
            yield

    def weights(self) -> dict[str, Tensor]:
        """The weights in training by name."""
        return {name: p.data for name, p in self.named.items()}

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Tensors by file name and tensor name, for a checkpoint; all processes call this together."""
        names = list(self.named)
        state: dict[str, dict[str, Tensor]] = {
            "weights": self.weights(),
            "optimizer": optimizer_tensors(self.optimizer, self.named),
        }
        if self.scaler.is_enabled():
            state["scaler"] = {k: torch.tensor(v) for k, v in self.scaler.state_dict().items()}
        if self.old:
            state["old"] = dict(zip(names, self.old, strict=True))
        if self.ema:
            state["ema"] = dict(zip(names, self.ema, strict=True))
        return {file: {k: self._to_save(v) for k, v in tensors.items()} for file, tensors in state.items()}

    def _to_save(self, tensor: Tensor) -> Tensor:
        """A contiguous tensor; of a shard the full tensor in the main process, an empty one in the others."""
        if not self.sharded:
            return tensor.contiguous()
        whole = joined(tensor)
        return whole.cpu() if distributed.is_main() else whole.new_empty(0)

    @torch.no_grad()
    def load(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Restore what `state` returned, bit for bit."""
        for name, p in self.named.items():
            p.copy_(cut_like(state["weights"][name], p))
        load_optimizer(self.optimizer, self.named, state["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict({k: v.item() for k, v in state["scaler"].items()})
        for copy, key in ((self.old, "old"), (self.ema, "ema")):
            for tensor, name in zip(copy, self.named, strict=bool(copy)):
                tensor.copy_(cut_like(state[key][name], tensor))
