"""Halve a batch for which the device has too little memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from safediffusion.errors import RunError

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


def halving(work: Callable[[list[Item]], list[Result]], items: list[Item]) -> list[Result]:
    """The results of `work` on all items; a batch for which the device has too little memory is halved.

    Raises:
        RunError: the memory is too small for a single item.
    """
    try:
        return work(items)
    except torch.OutOfMemoryError as error:
        if len(items) == 1:
            raise RunError(
                "the device has too little memory for a single image; use a smaller one"
            ) from error
        half = len(items) // 2
        log.warning("out of memory: going on with %d instead of %d images at once", half, len(items))
    return halving(work, items[:half]) + halving(work, items[half:])
