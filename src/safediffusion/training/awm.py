"""Advantage weighted matching (Xue et al., 2025), for noise or velocity. Pure maths.

The denoising error stands in for the log-density of a clean image (its evidence bound, Ho et al., 2020): up
to a constant, log p(x0) ~ -E_{t,e} w_t |e_theta(x_t) - e|^2. One draw of (t, e) estimates it; a ratio of two
estimates means something only where both have the same draw.
"""

from torch import Tensor


def matching_log_prob(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Estimate of log p(x0) up to a constant, mean over elements, (n,).

    Args:
        predicted: of what was added (or of the velocity), (n, c, h, w).
        target: what was added, (n, c, h, w).
        weight: w_t of each row's noise level, (n,).
    """
    return -weight * (predicted - target).square().flatten(1).mean(1)
