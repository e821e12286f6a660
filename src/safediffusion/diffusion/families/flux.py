"""FLUX.1: flow matching on packed latents; guidance is an input of the distilled network."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.families.sd3 import TEXT_TARGETS
from safediffusion.diffusion.flow import Flow, flow_by_length

# What the publisher's models were distilled with: guided ones (dev) see longer prompts than others (schnell).
T5_LENGTH = {True: 512, False: 256}


class Flux(Diffuser):
    """A FluxPipeline as a Diffuser; latents are unpacked everywhere but in the transformer."""

    network_name = "transformer"
    lora_targets = (*Diffuser.lora_targets, *TEXT_TARGETS)
    distilled = True

    def native_latents(self) -> tuple[int, int]:
        """Channels and side of the latents."""
        return self.pipeline.transformer.config.in_channels // 4, self.pipeline.default_sample_size

    def unpacked(self, latents: Tensor) -> Tensor:
        """Latents (n, c, h, w) from the pipeline's tokens."""
        return unpack(latents, *self.latent_shape[1:])

    def noise_process(self) -> tuple[FlowMatchEulerDiscreteScheduler, Flow]:
        """Flow matching with the model's time shift."""
        _, h, w = self.latent_shape
        return flow_by_length(self.pipeline.scheduler, self.device, h * w // 4)

    def encode_text(self, prompts: Sequence[str]) -> Condition:
        """T5's hidden states and CLIP's pooled output."""
        length = T5_LENGTH[self.pipeline.transformer.config.guidance_embeds]
        tokens, pooled, _ = self.pipeline.encode_prompt(
            list(prompts), device=self.device, max_sequence_length=length
        )
        return Condition(tokens.float(), pooled.float())

    def forward(self, latents: Tensor, t: Tensor, cond: Condition, guidance: float) -> Tensor:
        """The transformer's velocity, (n, c, h, w)."""
        told = None
        if self.pipeline.transformer.config.guidance_embeds:
            told = torch.full((len(latents),), guidance, device=self.device)
        return self.velocity(latents, t, cond, guidance=told, pooled_projections=cond.pooled)

    def velocity(self, latents: Tensor, t: Tensor, cond: Condition, **inputs: Any) -> Tensor:
        """The transformer's output, unpacked, with inputs of its own."""
        _, _, h, w = latents.shape
        velocity = self.pipeline.transformer(
            pack(latents),
            timestep=t / self.process.levels,
            encoder_hidden_states=cond.tokens,
            txt_ids=torch.zeros(cond.tokens.shape[1], 3, device=self.device),
            img_ids=image_ids(h // 2, w // 2, self.device),
            return_dict=False,
            **inputs,
        )[0]
        return unpack(velocity, h, w)


def pack(latents: Tensor) -> Tensor:
    """Squares of 2 x 2 latents as one token, (n, h/2 w/2, 4 c) from (n, c, h, w)."""
    n, c, h, w = latents.shape
    squares = latents.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return squares.reshape(n, h // 2 * (w // 2), 4 * c)


def unpack(tokens: Tensor, h: int, w: int) -> Tensor:
    """The opposite of `pack`, (n, c, h, w)."""
    n, _, d = tokens.shape
    squares = tokens.view(n, h // 2, w // 2, d // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return squares.reshape(n, d // 4, h, w)


def image_ids(h: int, w: int, device: torch.device) -> Tensor:
    """Row and column of every image token, (h w, 3); the first number is 0."""
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], -1).view(-1, 3).float().to(device)
