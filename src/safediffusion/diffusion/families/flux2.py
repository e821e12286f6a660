"""FLUX.2 [klein]: flow matching on normalised squares of latents; a language model reads the prompt."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from safediffusion.diffusion.autoencoder import normalised
from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.families.sd3 import TEXT_TARGETS
from safediffusion.diffusion.flow import Flow, even_steps
from safediffusion.diffusion.text_encoding import hidden_states, read_chat

TEXT_LENGTH = 512
LAYERS = (9, 18, 27)  # of the language model, whose states stand side by side
FITTED = 200  # most steps that the time shift's formula is fitted to
LONG = 4300  # tokens above which the shift no longer depends on the steps


class Flux2Klein(Diffuser):
    """A Flux2KleinPipeline as a Diffuser; a position of the latents is a token."""

    network_name = "transformer"
    lora_targets = (*Diffuser.lora_targets, *TEXT_TARGETS, "to_qkv_mlp_proj", "to_out")
    side_step = 1

    @property
    def pixels(self) -> int:
        """Side of the square of pixels that one position of the latents stands for."""
        return 2 * self.pipeline.vae_scale_factor

    def native_latents(self) -> tuple[int, int]:
        """Channels and side of the latents."""
        return self.pipeline.transformer.config.in_channels, self.pipeline.default_sample_size // 2

    def unpacked(self, latents: Tensor) -> Tensor:
        """Latents (n, c, h, w) as the transformer has them, from the autoencoder's."""
        return normalised(self.pipeline.vae, latents)

    def noise_process(self) -> tuple[FlowMatchEulerDiscreteScheduler, Flow]:
        """Flow matching; its time shift depends on the number of tokens and of steps."""
        made: Any = FlowMatchEulerDiscreteScheduler.from_config(self.pipeline.scheduler.config)
        _, h, w = self.latent_shape

        def options(steps: int) -> dict[str, Any]:
            return {"sigmas": even_steps(steps), "mu": time_shift(h * w, min(steps, FITTED))}

        return made, Flow(made, self.device, options)

    @property
    def takes_guidance(self) -> bool:
        """Whether this is a base model; those distilled to few steps take none."""
        return not self.pipeline.config["is_distilled"]

    def encode_text(self, prompts: Sequence[str]) -> Condition:
        """Hidden states of three layers of the language model, side by side; padding is read too."""
        read = read_chat(self.pipeline.tokenizer, prompts, TEXT_LENGTH, thinking=False)
        # without the head, which would give a number for every word of the vocabulary
        states = hidden_states(self.pipeline.text_encoder.model, read, self.device)
        return Condition(torch.cat([states[layer] for layer in LAYERS], -1).float())

    def forward(self, latents: Tensor, t: Tensor, cond: Condition, guidance: float) -> Tensor:
        """The transformer's velocity, (n, c, h, w)."""
        _, _, h, w = latents.shape
        zero = torch.zeros(1, dtype=torch.long, device=self.device)
        words, rows, columns = (torch.arange(n, device=self.device) for n in (cond.tokens.shape[1], h, w))
        velocity = self.pipeline.transformer(
            latents.flatten(2).transpose(1, 2),
            timestep=t / self.process.levels,
            encoder_hidden_states=cond.tokens,
            txt_ids=torch.cartesian_prod(zero, zero, zero, words),
            img_ids=torch.cartesian_prod(zero, rows, columns, zero),
            guidance=None,
            return_dict=False,
        )[0]
        return velocity.transpose(1, 2).reshape(latents.shape)


def time_shift(tokens: int, steps: int) -> float:
    """The time shift mu that its publisher fitted for 10 and for 200 steps, linear in between.

    Args:
        tokens: of the image.
        steps: of the sampler.
    """
    many = 0.00016927 * tokens + 0.45666666
    if tokens > LONG:
        return many
    few = 8.73809524e-05 * tokens + 1.89833333
    return many + (many - few) * (steps - 200) / 190
