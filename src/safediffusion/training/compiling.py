"""Whether this machine can compile a network."""

import logging

import torch

log = logging.getLogger(__name__)


def can_compile(device: torch.device) -> bool:
    """Try it on next to nothing; where it fails, as without a C++ compiler, say so in one line."""
    try:
        torch.compile(torch.neg)(torch.zeros(1, device=device))
    except Exception as error:  # compilers fail in ways of their own
        reason = str(error).strip().partition("\n")[0]
        log.warning("train.compile: not possible here, training goes on without it (%s)", reason)
        return False
    return True
