"""Z-Image: flow matching whose network counts time from noise to image; a language model reads the prompt."""

from collections.abc import Sequence

import torch
from diffusers.models.transformers.transformer_z_image import SEQ_MULTI_OF
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.flow import Flow, flow_by_length
from safediffusion.diffusion.text_encoding import hidden_states, read_chat

TEXT_LENGTH = 512
NATIVE = 1024  # pixels; the files do not say it


class ZImage(Diffuser):
    """A ZImagePipeline as a Diffuser.

    Guidance is w in free + w (conditional - free), as in every family; the pipeline's own number is w - 1.
    """

    network_name = "transformer"
    guidance_offset = 1.0

    def native_latents(self) -> tuple[int, int]:
        """Channels and side of the latents."""
        return self.pipeline.transformer.config.in_channels, NATIVE // self.pixels

    def noise_process(self) -> tuple[FlowMatchEulerDiscreteScheduler, Flow]:
        """Flow matching with the model's time shift."""
        _, h, w = self.latent_shape
        return flow_by_length(self.pipeline.scheduler, self.device, h * w // 4)

    def encode_text(self, prompts: Sequence[str]) -> Condition:
        """The language model's last but one hidden states; the network is given no padding."""
        read = read_chat(self.pipeline.tokenizer, prompts, TEXT_LENGTH, thinking=True)
        states = hidden_states(self.pipeline.text_encoder, read, self.device)[-2]
        # a row's words first, whatever the side of the padding
        order = read.attention_mask.sort(dim=1, descending=True, stable=True).indices.to(self.device)
        rows = torch.arange(len(states), device=self.device)[:, None]
        return Condition(states[rows, order].float(), lengths=tuple(read.attention_mask.sum(1).tolist()))

    def forward(self, latents: Tensor, t: Tensor, cond: Condition, guidance: float) -> Tensor:
        """The velocity, (n, c, h, w); the transformer's own points from noise to image, as its time does."""
        assert cond.lengths is not None
        levels = self.process.levels
        texts = [row[:length] for row, length in zip(cond.tokens, cond.lengths, strict=True)]
        output = self.pipeline.transformer(
            list(latents.unsqueeze(2)), (levels - t) / levels, texts, return_dict=False
        )[0]
        return -torch.stack(output).squeeze(2)

    def _alike(self, cond: Condition) -> list[list[int]]:
        """Texts that the network pads to the same length; beside a longer one they would be padded further.

        Processes that share a sharded network make the same number of calls, so there they stay together.
        """
        if self._sharded is not None:
            return super()._alike(cond)
        kinds: dict[int, list[int]] = {}
        for row, length in enumerate(cond.lengths or ()):
            kinds.setdefault(-(-length // SEQ_MULTI_OF), []).append(row)
        return list(kinds.values())
