"""What the rest of the program may ask of a text-to-image model, whatever its family."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.noise_process import Process


class Diffuser(Protocol):
    """A text-to-image model as a policy."""

    pipeline: Any
    device: torch.device
    dtype: torch.dtype
    scheduler: Any
    process: Process
    resolution: int
    latent_shape: tuple[int, int, int]
    call_rows: int | None
    tiny: Any

    @property
    def network(self) -> nn.Module:
        """What is trained."""
        ...

    @property
    def distilled(self) -> bool:
        """Whether the network is told the guidance, in one pass, instead of being guided by two."""
        ...

    def encode(self, prompts: Sequence[str]) -> Condition:
        """Text conditioning of n prompts, float32."""
        ...

    def awake(self) -> AbstractContextManager[None]:
        """Inside, text encoders that otherwise wait elsewhere are on the device."""
        ...

    def predict(self, latents: Tensor, t: Tensor, cond: Condition, guidance: float) -> Tensor:
        """The network's (guided) output, (n, c, h, w) float32, for x_t (n, c, h, w) and t (n,)."""
        ...

    def predict_both(
        self, latents: Tensor, t: Tensor, cond: Condition, guidance: float
    ) -> tuple[Tensor, Tensor]:
        """Guided and unguided output, each (n, c, h, w) float32."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Images (n, 3, H, W) in [0, 1] from clean latents (n, c, h, w)."""
        ...

    def unpacked(self, latents: Tensor) -> Tensor:
        """Latents (n, c, h, w) of this model's resolution from those that its pipeline gives out."""
        ...

    def decode_small(self, latents: Tensor) -> Tensor:
        """The same by the tiny autoencoder, which `tiny` has to be."""
        ...

    def make_trainable(self, lora_rank: int, shard: bool = False) -> dict[str, nn.Parameter]:
        """The parameters to train by name: all of the network (rank 0) or new LoRA matrices."""
        ...

    def whole(self, values: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """Inside, trained parameters have the given values, and no call waits for another process."""
        ...

    def compile(self) -> None:
        """From now on calls of the network that have `call_rows` rows run compiled."""
        ...

    def recompute_activations(self) -> None:
        """From now on activations are computed again in the backward pass instead of being kept."""
        ...

    def reference(self) -> AbstractContextManager[None]:
        """Inside, the network predicts as it did before training."""
        ...

    def keep_reference(self) -> None:
        """Keep what `reference` needs; called once, before the first update."""
        ...

    def export(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write a folder that plain diffusers loads, the trained network in `dtype`."""
        ...
