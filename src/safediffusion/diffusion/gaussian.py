"""The density of a stochastic step, for every noise process. Pure functions in float32.

The network may run in half precision; what it predicted is cast up before it comes here.
"""

import math

import torch
from torch import Tensor


def log_prob(x: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """Mean over elements of log N(x; mu, sigma), (n,).

    A mean, not a sum: a clip range of 1e-4 is stated for it.
    """
    require_float32(x, mu)
    square = ((x - mu) / sigma).square().flatten(1).mean(1)
    return -0.5 * square - sigma.reshape(-1).log() - 0.5 * math.log(2 * math.pi)


def gaussian_kl(mu: Tensor, mu_ref: Tensor, sigma: Tensor) -> Tensor:
    """KL between two Gaussians of the same deviation, mean over elements, (n,)."""
    require_float32(mu, mu_ref)
    return ((mu - mu_ref) / sigma).square().flatten(1).mean(1) / 2


def require_float32(*tensors: Tensor) -> None:
    """Refuse half precision: rounding a stored latent changes its log-density by more than a clip range."""
    for tensor in tensors:
        if tensor.dtype in (torch.float16, torch.bfloat16):
            raise TypeError(
                f"scheduler maths needs float32, got {tensor.dtype}: rounding moves a log-density by more "
                "than the clip range. Cast the network's output up with .float() first."
            )
