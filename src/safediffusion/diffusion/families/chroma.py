"""Chroma: FLUX's transformer without pooled text and guidance input; T5 with a mask, and real guidance."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.models.transformers.transformer_chroma import ChromaSingleTransformerBlock
from torch import Tensor, nn

from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.families.flux import Flux
from safediffusion.diffusion.text_encoding import encoder_mask

T5_LENGTH = 512


class Chroma(Flux):
    """A ChromaPipeline as a Diffuser."""

    distilled = False
    _attended: Tensor | None = None  # the mask of the current call

    def encode_text(self, prompts: Sequence[str]) -> Condition:
        """T5's hidden states, and a mask of the text with the first token of the padding behind it."""
        read = self.pipeline.tokenizer(
            list(prompts), padding="max_length", max_length=T5_LENGTH, truncation=True, return_tensors="pt"
        )
        words = read.attention_mask.to(self.device)
        mask = encoder_mask(read.attention_mask, self.device)
        tokens = self.pipeline.text_encoder(read.input_ids.to(self.device), attention_mask=mask)[0]
        places = torch.arange(words.shape[1], device=self.device)
        return Condition(tokens.float(), mask=places <= words.sum(1, keepdim=True))

    def forward(self, latents: Tensor, t: Tensor, cond: Condition, guidance: float) -> Tensor:
        """The transformer's velocity, (n, c, h, w)."""
        assert cond.mask is not None
        _, _, h, w = latents.shape
        seen = torch.cat([cond.mask, cond.mask.new_ones(len(latents), h // 2 * (w // 2))], 1)
        # its pipeline gives numbers, which attention adds: 1 for a pair of seen tokens, 0 for other pairs
        self._attended = seen.to(self.dtype)
        return self.velocity(latents, t, cond, attention_mask=self._attended)

    def _recomputed(self, block: nn.Module, *args: Any, **options: Any) -> Any:
        """Recompute a block with its mask, which diffusers gives the first kind of block only."""
        if isinstance(block, ChromaSingleTransformerBlock) and len(args) == 3:
            options["attention_mask"] = self._attended
        return super()._recomputed(block, *args, **options)
