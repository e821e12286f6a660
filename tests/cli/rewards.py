"""A reward of the user's own, named in a recipe as tests.cli.rewards:brightness."""

import os
import signal
from collections.abc import Sequence

from torch import Tensor

from tests.held import hold


def brightness(images: Tensor, prompts: Sequence[str]) -> Tensor:
    hold()
    return images.mean((1, 2, 3)).float()


def brightness_until_one_dies(images: Tensor, prompts: Sequence[str]) -> Tensor:
    if os.environ.get("RANK") == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return brightness(images, prompts)
