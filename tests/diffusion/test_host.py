"""The denoising loop never waits for the device: what brings a value to the host is counted."""

from collections.abc import Iterator

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from safediffusion.diffusion import noise
from safediffusion.diffusion.load import as_diffuser
from safediffusion.diffusion.rollout import Sampling, StochasticSampling, rollout, solve, stochastic_steps
from tests.pipelines import FAMILIES, RESOLUTION

WAITING = ("item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__float__", "__int__", "__index__")
TEXTS = ["a red square", "blue circle"]


class Scalars(TorchDispatchMode):
    """Counts values that PyTorch itself brings to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of methods that waited."""
    seen: list[str] = []

    def counting(name):
        original = getattr(torch.Tensor, name)

        def method(self, *args, **kwargs):
            seen.append(name)
            return original(self, *args, **kwargs)

        return method

    for name in WAITING:
        monkeypatch.setattr(torch.Tensor, name, counting(name))
    yield seen


def test_a_wait_is_noticed(waits):
    with Scalars() as scalars:
        float(torch.ones(2).sum())
        torch.ones(2).tolist()
    assert "tolist" in waits and scalars.count == 1


def sampled(diffuser, steps, stochastic, waits):
    """Host synchronisations of one batch."""
    schedule, cond = diffuser.process.schedule(steps), diffuser.encode(TEXTS)
    eta = [0.7 if stochastic else 0.0] * steps
    draws = len(stochastic_steps(schedule, eta))
    z = noise.normal([(noise.SAMPLE, i) for i in range(2)], (1 + draws, *diffuser.latent_shape))
    waits.clear()
    with Scalars() as scalars:
        if stochastic:
            rollout(diffuser, schedule, cond, z, StochasticSampling(3.0, 2, eta=eta))
        else:
            solve(diffuser, schedule, cond, z[:, 0], Sampling(3.0, 2))
    return scalars.count + len(waits)


@pytest.mark.parametrize("stochastic", [True, False])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_synchronisations_do_not_grow_with_the_steps(family, stochastic, waits):
    diffuser = as_diffuser(FAMILIES[family](), resolution=RESOLUTION)
    sampled(diffuser, 1, stochastic, waits)  # the first guided call encodes the empty prompt
    few, many = (sampled(diffuser, steps, stochastic, waits) for steps in (3, 7))
    assert few == many, "the loop waits for the device in every step"
