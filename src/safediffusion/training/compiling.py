"""Whether this machine can compile a network."""

import logging

import torch

from safediffusion.text.first_line import first_line

log = logging.getLogger(__name__)


def can_compile(device: torch.device) -> bool:
    """Compile a trivial function; where that fails (no C++ compiler), log one line and return False."""
    try:
        torch.compile(torch.neg)(torch.zeros(1, device=device))
    except Exception as error:  # a compiler may raise anything
        reason = first_line(error)
        log.warning("train.compile: not possible here, training goes on without it (%s)", reason)
        return False
    return True
