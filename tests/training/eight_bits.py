"""A stand-in for bitsandbytes: its AdamW8bit's state, as it lies there, with a simpler update."""

from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

LEAST = 4096  # values; smaller tensors keep their moments in float32


class AdamW8bit(torch.optim.Optimizer):
    """Momentum that is stored as places in one map for all parameters, times a scale of its own."""

    def __init__(self, params: Sequence[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.qmap = torch.linspace(-1, 1, 256)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                eight = p.numel() >= LEAST
                if not state and eight:
                    state |= {"step": 0, "qmap1": self.qmap, "absmax1": torch.zeros(1)}
                    state["state1"] = torch.zeros(p.shape, dtype=torch.uint8)
                elif not state:
                    state |= {"step": 0, "state1": torch.zeros_like(p)}
                assert type(state["step"]) is int  # goes to C as one
                state["step"] += 1
                moment = (
                    state["qmap1"][state["state1"].long()] * state["absmax1"] if eight else state["state1"]
                )
                moment = 0.9 * moment + 0.1 * p.grad
                p.sub_(group["lr"] * moment.sign() / state["step"] ** 0.5)
                if eight:
                    state["absmax1"] = moment.abs().amax().reshape(1)
                    state["state1"] = ((moment / state["absmax1"] + 1) * 127.5).round().to(torch.uint8)
                else:
                    state["state1"] = moment


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it what `import bitsandbytes` finds."""
    module = ModuleType("bitsandbytes")
    module.__spec__ = ModuleSpec("bitsandbytes", None)
    module.optim = SimpleNamespace(AdamW8bit=AdamW8bit)  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", module)
