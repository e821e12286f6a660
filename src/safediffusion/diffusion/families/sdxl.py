"""Stable Diffusion XL: two text encoders, a pooled embedding, and the image's size as an input."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.families.sd import StableDiffusion


class StableDiffusionXL(StableDiffusion):
    """A StableDiffusionXLPipeline (base model, no refiner) as a Diffuser."""

    load_options: ClassVar[Mapping[str, Any]] = {"add_watermarker": False}

    def encode_text(self, prompts: Sequence[str]) -> Condition:
        """Both encoders' last but one hidden states side by side, and the second one's pooled output."""
        tokens, _, pooled, _ = self.pipeline.encode_prompt(
            list(prompts), device=self.device, do_classifier_free_guidance=False
        )
        return Condition(tokens.float(), pooled.float())

    def unconditional(self) -> Condition:
        """Zeros where the model was trained with them, else the empty prompt."""
        empty = self.encode([""])
        if not self.pipeline.config["force_zeros_for_empty_prompt"]:
            return empty
        return empty.zeros_like()

    def forward(self, latents: Tensor, t: Tensor, cond: Condition, guidance: float) -> Tensor:
        """The UNet's output, (n, c, h, w); its size inputs say that the image is uncropped."""
        size = (self.resolution, self.resolution)
        time_ids = torch.tensor([[*size, 0, 0, *size]], dtype=torch.float32, device=self.device)
        added = {"text_embeds": cond.pooled, "time_ids": time_ids.expand(len(latents), -1)}
        return self.pipeline.unet(
            latents, t, encoder_hidden_states=cond.tokens, added_cond_kwargs=added, return_dict=False
        )[0]
