"""Stable Diffusion 1.x and 2.x (and World, which is one): one text encoder, noise or v prediction."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.ddim import Ddim
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.noise_levels import ddim_scheduler
from safediffusion.errors import UserError


class StableDiffusion(Diffuser):
    """A StableDiffusionPipeline as a Diffuser."""

    network_name = "unet"
    load_options: ClassVar[Mapping[str, Any]] = {"safety_checker": None, "requires_safety_checker": False}

    def native_latents(self) -> tuple[int, int]:
        """Channels and side of the latents."""
        config = self.pipeline.unet.config
        return config.in_channels, config.sample_size

    def noise_process(self) -> tuple[DDIMScheduler, Ddim]:
        """DDIM with the model's noise levels."""
        if self.pipeline.unet.config.time_cond_proj_dim is not None:
            raise UserError(
                "this is a latent consistency model: its network is told the guidance; train the model that "
                "it was distilled from, and load its LCM adapter beside the result"
            )
        scheduler = ddim_scheduler(self.pipeline.scheduler)
        return scheduler, Ddim(scheduler, self.device)

    def encode_text(self, prompts: Sequence[str]) -> Condition:
        """Last hidden states of the text encoder, (n, length, d) float32; long prompts are cut."""
        tokenizer = self.pipeline.tokenizer
        ids = tokenizer(
            list(prompts),
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return Condition(self.pipeline.text_encoder(ids.to(self.device))[0].float())

    def forward(self, latents: Tensor, t: Tensor, cond: Condition, guidance: float) -> Tensor:
        """The UNet's output, (n, c, h, w)."""
        return self.pipeline.unet(latents, t, encoder_hidden_states=cond.tokens, return_dict=False)[0]
