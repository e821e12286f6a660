from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def make(device: torch.device, saturation: float = 0.4) -> Callable[[Tensor, Sequence[str]], Tensor]:
    """A reward for images whose mean saturation is near the given one."""
    wanted = torch.tensor(saturation, device=device)  # a network would be loaded here, onto the device

    def colourful(images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Rewards (n,) of images (n, 3, h, w) in [0, 1]."""
        found = (images.amax(1) - images.amin(1)).mean((1, 2))
        return -(found - wanted).abs()

    return colourful
